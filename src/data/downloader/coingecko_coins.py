"""How CoinGecko writes coins and currencies.

Its short names are not unique (a hundred coins are called PEPE), so a coin is asked for by its id,
and only those stand here whose id is beyond doubt.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from ..errors import CapabilityError
from ..model.instrument import Instrument

_IDS = """
1INCH 1inch  AAVE aave  ADA cardano  ALGO algorand  ANKR ankr  APT aptos  ARB arbitrum
ATOM cosmos  AVAX avalanche-2  AXS axie-infinity  BCH bitcoin-cash  BNB binancecoin  BTC bitcoin
BUSD binance-usd  CAKE pancakeswap-token  CHZ chiliz  CRO crypto-com-chain  CRV curve-dao-token
DAI dai  DOGE dogecoin  DOT polkadot  ENJ enjincoin  ENS ethereum-name-service  EOS eos
ETC ethereum-classic  ETH ethereum  FDUSD first-digital-usd  FET fetch-ai  FIL filecoin
FTM fantom  GALA gala  GRT the-graph  HBAR hedera-hashgraph  ICP internet-computer
IMX immutable-x  INJ injective-protocol  IOTA iota  IOTX iotex  KNC kyber-network-crystal
LINK chainlink  LTC litecoin  MANA decentraland  MATIC matic-network  MKR maker  NEAR near
OMG omisego  ONT ontology  PEPE pepe  POL polygon-ecosystem-token  QTUM qtum  SAND the-sandbox
SHIB shiba-inu  SNX havven  SOL solana  STETH staked-ether  SUI sui  SUSHI sushi  THETA theta-token
TON the-open-network  TRX tron  TUSD true-usd  UNI uniswap  USDC usd-coin  USDT tether  VET vechain
WBTC wrapped-bitcoin  XLM stellar  XMR monero  XRP ripple  XTZ tezos  YFI yearn-finance  ZEC zcash
ZIL zilliqa  ZRX 0x
""".split()
COINS: Mapping[str, str] = MappingProxyType(dict(zip(_IDS[::2], _IDS[1::2], strict=True)))
CURRENCIES = frozenset(
    "AED ARS AUD BCH BDT BHD BMD BNB BRL BTC CAD CHF CLP CNY CZK DKK DOT EOS ETH EUR GBP GEL HKD "
    "HUF IDR ILS INR JPY KRW KWD LINK LKR LTC MMK MXN MYR NGN NOK NZD PHP PKR PLN RUB SAR SEK SGD "
    "THB TRY TWD UAH USD VND XLM XRP YFI ZAR".split()
)
# It quotes dollars, no dollar coins: the answer says so, and is never mixed with bars of those.
_DOLLARS = frozenset("USDT USDC FDUSD BUSD TUSD USDP USDE USD1 DAI".split())


def coin_id(instrument: Instrument) -> str:
    """Return the id of the coin that is priced.

    Raises:
        CapabilityError: it is none that is known here.
    """
    if "coingecko" in instrument.spellings or instrument.base is None:
        return instrument.spelling("coingecko").lower()
    if found := COINS.get(instrument.base):
        return found
    raise CapabilityError(
        f"the id of {instrument.base} at CoinGecko is not known here",
        symbol=instrument.symbol,
        hint="name it in the rules: symbol_classification.symbols, spellings: {coingecko: its-id}",
    )


def currency(instrument: Instrument) -> str:
    """Return the currency in which it is priced, upper case; dollars where none is said.

    Raises:
        CapabilityError: CoinGecko quotes nothing in it.
    """
    quote = instrument.quote or "USD"
    quote = "USD" if quote in _DOLLARS else quote
    if quote not in CURRENCIES:
        raise CapabilityError(f"CoinGecko quotes nothing in {quote}", symbol=instrument.symbol)
    return quote
