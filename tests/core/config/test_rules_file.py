from __future__ import annotations

import difflib
import importlib
import json
from hashlib import sha256
from pathlib import Path
from types import ModuleType
from unittest.mock import Mock

import pytest

from src.data.core.calendars.library import library_class
from src.data.core.config import rules_file as module
from src.data.core.config.rules import Rules
from src.data.core.config.rules_file import (
    load_rules,
    packaged_bytes,
    packaged_rules,
    rules_of,
)
from src.data.core.config.rules_parser import read_rules
from src.data.core.model.time.timeframe import Timeframe
from src.data.errors import ConfigError, RulesError
from tests.e2e.fresh import Fresh

TREE = Path(__file__).resolve().parents[3] / "config" / "data" / "provider_rules.yaml"


@pytest.fixture
def user_file(tmp_path: Path) -> Path:
    return tmp_path / "rules.yaml"


def load(path: Path, text: str) -> Rules:
    path.write_text(text, "utf-8")
    return load_rules(path)


def mistakes(path: Path, text: str) -> tuple[str, ...]:
    with pytest.raises(RulesError) as caught:
        load(path, text)
    for problem in caught.value.problems:
        assert problem in str(caught.value)
    return caught.value.problems


def vendors(rules: Rules, asset_class: str, timeframe: str) -> tuple[str, ...]:
    rule = rules.rule_for(asset_class, Timeframe.parse(timeframe))
    return rule.vendors if rule else ()


class TestMistakes:
    def test_all_of_a_file_at_once(self, user_file: Path) -> None:
        text = (
            "crypto:\n"
            "  primry: binance\n"  # a misspelt key
            "  backup: [yaho]\n"  # a misspelt vendor
            "stock_daily:\n"
            "  primary: yahoo\n"
            "  timeframes: [1d, 1x]\n"  # no timeframe
            "crypto:\n"  # a second time
            "  primary: yahoo\n"
        )
        assert mistakes(user_file, text) == (
            "crypto: given twice: on line 1 and again on line 7 (line 1)",
            "crypto.primry: unknown key: did you mean primary? (line 2)",
            "crypto.backup[0]: it is 'yaho', which is not a vendor: did you mean yahoo? (line 3)",
            "stock_daily.timeframes[1]: unknown timeframe '1x' (did you mean '1w'? usual ones: "
            "1m 5m 15m 30m 1h 4h 1d 1w 1M) (line 6)",
        )

    def test_a_family_is_no_vendor_and_its_members_are(self, user_file: Path) -> None:
        assert mistakes(user_file, "crypto: {primary: ccxt, backup: [ccxt:a-b]}\n") == (
            "crypto.primary: ccxt is a family of vendors; name one of them: "
            "did you mean ccxt:kraken? (line 1)",
            "crypto.backup[0]: it is 'ccxt:a-b', which is not a vendor: did you mean ccxt? (line 1)",
        )
        rules = load(user_file, "crypto: {primary: ccxt:kraken}\nproviders:\n  ccxt:kraken: {}\n")
        assert vendors(rules, "crypto", "1d")[0] == "ccxt:kraken"

    @pytest.mark.parametrize(
        ("text", "problem"),
        [
            (
                "providers: {yahoo: {settle_minutes: 3}, yf: {cost: free}}",
                "providers.yf: given twice, as yahoo and as yf; keep one (line 1)",
            ),
            (
                "live_feeds: {Binance: {polling_interval: 5}, binance: {}}",
                "live_feeds.binance: given twice, as Binance and as binance; keep one (line 1)",
            ),
            (
                "symbol_classification: {symbols: {SOL: SOLUSDT, sol: SOL.US}}",
                "symbol_classification.symbols.sol: given twice, as SOL and as sol; keep one (line 1)",
            ),
        ],
    )
    def test_one_vendor_or_symbol_under_two_spellings_is_given_twice(
        self, user_file: Path, text: str, problem: str
    ) -> None:
        assert mistakes(user_file, text) == (problem,)

    def test_a_gateway_has_keys_of_its_own(self, user_file: Path) -> None:
        rules = load(user_file, "providers:\n  ibkr: {host: 10.0.0.5, port: 4002, client_id: 3}\n")
        said = {"host": "10.0.0.5", "port": 4002, "client_id": 3}
        assert rules.provider("ibkr").options == said
        (problem,) = mistakes(user_file, "providers:\n  yahoo: {port: 4002}\n")
        assert problem.startswith("providers.yahoo.port: unknown key")

    def test_the_message_names_the_file_and_the_count(self, user_file: Path) -> None:
        with pytest.raises(RulesError, match=r"rules\.yaml has 2 mistakes:") as caught:
            load(user_file, "a: 1\nb: 2\n")
        assert isinstance(caught.value, ValueError)

    @pytest.mark.parametrize(
        "text",
        [
            f"crypto: {{backup: [{', '.join(f'yaho{n}' for n in range(5_000))}]}}",
            "".join(f"cryptoo{n}: 1\n" for n in range(5_000)),
            "".join(f"a{n}: *b\n" for n in range(5_000)),
        ],
    )
    def test_of_very_many_mistakes_the_first_are_told(
        self, text: str, user_file: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        compared = Mock(wraps=difflib.get_close_matches)
        monkeypatch.setattr("difflib.get_close_matches", compared)
        with pytest.raises(RulesError, match="has 100 mistakes or more; the first are:") as caught:
            load(user_file, text)
        assert len(caught.value.problems) == 100 and len(str(caught.value)) < 20_000
        assert compared.call_count <= 101

    @pytest.mark.parametrize(
        "text, expected",
        [
            ("cryptoo: {primary: binance}", "cryptoo: unknown key: did you mean crypto?"),
            ("crypto: binance", "crypto: it is 'binance', but must have keys"),
            (
                "crypto: {backup: yahoo}",
                "crypto.backup: it is 'yahoo', but must be a list: did you mean [yahoo]?",
            ),
            ("crypto: {primary: 5}", "crypto.primary: it is 5, which is not a vendor"),
            ("crypto: {primary: }", "crypto.primary: it is empty, which is not a vendor"),
            ("crypto: {timeframes: [1]}", "crypto.timeframes[0]: unknown timeframe 1"),
            (
                "cache: {max_size_gb: -1}",
                "cache.max_size_gb: it is -1, but must be a number of at least 0",
            ),
            ("cache: {max_size_gb: ten}", "it is 'ten', but must be a number"),
            ("cache: {max_size_gb: true}", "it is True, but must be a number"),
            ("cache: {compression: 1}", "cache.compression: it is 1, but must be a string"),
            ("validation: {check_duplicates: maybe}", "must be true or false"),
            ("cache: {enabled: 1}", "cache.enabled: it is 1, but must be true or false"),
            ("failover: {max_retries: 99}", "must be a number from 0 to 20"),
            ("failover: {max_retries: 2.5}", "it is 2.5, but must be an integer"),
            ("validation: {min_quality_score: 1.5}", "must be a number from 0 to 1"),
            (
                "providers: {nobody: {cost: free}}",
                "providers.nobody: it is 'nobody', which is not a vendor",
            ),
            ("providers: {yahoo: {folder: x}}", "providers.yahoo.folder: unknown key"),
            (
                "providers: {local: {colums: {}}}",
                "providers.local.colums: unknown key: did you mean columns?",
            ),
            (
                "providers: {local: {columns: {opn: x}}}",
                "columns.opn: unknown key: did you mean open?",
            ),
            (
                "providers: {local: {delimiter: \\t}}",
                """it is '\\\\t', but must be one of "," ";" "|" "\\t\"""",
            ),
            ("providers: {local: {delimiter: [;]}}", 'it is list, but must be one of ","'),
            ("providers: {yahoo: {transport: htp}}", "did you mean http?"),
            ("providers: {yahoo: {base_url: ftp://h}}", "must be an address https://..."),
            ("providers: {yahoo: {base_url: nonsense}}", "must be an address https://..."),
            (
                "providers: {yahoo: {base_url: 'http://mirror.example'}}",
                "http:// is for this machine only",
            ),
            (
                "providers: {binance: {ws_url: 'ws://mirror.example'}}",
                "did you mean wss://mirror.example?",
            ),
            (
                "providers: {yahoo: {rate_limits: {per_minute: 5}}}",
                "rate_limits.per_minute: unknown key",
            ),
            (
                "providers: {yahoo: {rate_limits: {requests_per_month: 0.5}}}",
                "requests_per_month: it is 0.5, but must be an integer",
            ),
            (
                "providers: {local: {pattern: '{symbol}-{other}'}}",
                "local.pattern: it has the field {other}; only {symbol}, {timeframe}, {base} and {quote} are "
                "filled in",
            ),
            (
                "providers: {local: {pattern: '{symbol!r:>9}'}}",
                "it has the field {symbol} with a format",
            ),
            ("providers: {local: {pattern: '{}{symbol}'}}", "it has the field {}"),
            ("providers: {local: {pattern: '{'}}", "it has an unmatched brace"),
            ("providers: {local: {pattern: '{symbol}}'}}", "it has an unmatched brace"),
            (
                f"providers: {{local: {{pattern: '{{symbol}}{'x' * 4992}'}}}}",
                "it has 5,000 characters; at most 200 are allowed",
            ),
            ('providers: {local: {pattern: "{symbol}\\0"}}', "it has control characters"),
            ("live_feeds: {binance: {polling_interval: 0}}", "must be a number of at least 1"),
            (
                "symbol_classification: {crypto: {patterns: ['(']}}",
                "which is not a regular expression",
            ),
            ("symbol_classification: {symbols: {SOL: {calendar: XNYS}}}", "asset_class is missing"),
            (
                "symbol_classification: {symbols: {SOL: BTC}}",
                "symbols.SOL: the symbol 'BTC' is ambiguous",
            ),
            ("symbol_classification: {symbols: {SOL: 7}}", "symbols.SOL: it is 7, but must have keys"),
            ("symbol_classification: {symbols: {'ES 1!': SPY}}", "contains ' '"),
            (
                "symbol_classification: {stock: {exchange_suffixes: {L: x}}}",
                "must begin with a dot: did you mean .L?",
            ),
            (
                "symbol_classification: {stock: {exchange_suffixes: {.Q: {same_as: .QQ}}}}",
                ".QQ is not a suffix with its own venue",
            ),
            ("symbol_classification: {index: {venues: {^X: .LX}}}", "unknown suffix .LX"),
            ("symbol_classification: {stocks: {}}", "did you mean stock?"),
            ("version: 2", "version: it is 2, but must be a number from 1 to 1"),
        ],
    )  # fmt: skip
    def test_each_mistake_in_a_rules_file_is_named_once(
        self, user_file: Path, text: str, expected: str
    ) -> None:
        (problem,) = mistakes(user_file, text)
        assert expected in problem

    @pytest.mark.parametrize(
        "address", ["https://user:s3cret@host", "https://host/?key=s3cret", "ftp://s3cret.example"]
    )
    def test_an_address_never_shows_what_it_carries(self, user_file: Path, address: str) -> None:
        (problem,) = mistakes(user_file, f"providers: {{yahoo: {{base_url: '{address}'}}}}")
        assert "s3cret" not in problem

    def test_form_and_content_together(self, user_file: Path) -> None:
        problems = mistakes(user_file, "a: &x 1\ncache: {sise: 1}\n")
        assert len(problems) == 3  # the anchor, the key `a`, the key `sise`

    def test_a_file_that_is_no_yaml(self, user_file: Path) -> None:
        (problem,) = mistakes(user_file, "crypto: [")
        assert "invalid YAML on line" in problem

    def test_a_file_that_cannot_be_read(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match=r"absent\.yaml cannot be read"):
            load_rules(tmp_path / "absent.yaml")
        with pytest.raises(ConfigError, match="cannot be read"):
            load_rules(tmp_path)


class TestOverlay:
    def test_the_documented_short_file_is_complete(self, user_file: Path) -> None:
        rules = load(
            user_file,
            "crypto:\n  primary: binance\n  backup: [coingecko, alpha_vantage]\n"
            "  timeframes: [1m, 5m, 15m, 30m, 1h, 4h, 1d, 1w, 1M]\n"
            "stock_intraday:\n  primary: fmp\n  backup: [alpaca, alpha_vantage, polygon]\n"
            "  timeframes: [1m, 5m, 15m, 30m, 1h, 4h]\n"
            "stock_daily:\n  primary: yahoo\n  backup: [alpaca, tiingo, fmp]\n"
            "  timeframes: [1d, 1w, 1M]\n",
        )
        assert vendors(rules, "crypto", "5m") == ("binance", "coingecko", "alpha_vantage")
        assert vendors(rules, "stock", "5m") == ("fmp", "alpaca", "alpha_vantage", "polygon")
        for timeframe in ("1d", "1w", "1M"):  # 1w and 1M are the user's now
            assert vendors(rules, "stock", timeframe) == ("yahoo", "alpaca", "tiingo", "fmp")
        assert vendors(rules, "forex", "1d") == ("yahoo",), "what it leaves out stays"
        assert "BTC" in rules.classification.assets

    def test_the_rule_that_is_named_after_a_timeframe_wins_where_both_are_the_users(
        self, user_file: Path
    ) -> None:
        rules = load(
            user_file,
            "stock_daily: {primary: yahoo, timeframes: [1d, 1w, 1M]}\n"
            "stock_weekly_monthly: {primary: tiingo, timeframes: [1w, 1M]}\n",
        )
        assert vendors(rules, "stock", "1w")[0] == "tiingo"
        assert vendors(rules, "stock", "1d")[0] == "yahoo"

    def test_a_rule_without_timeframes_moves_none(self, user_file: Path) -> None:
        rules = load(user_file, "stock_daily: {primary: local}\n")
        assert vendors(rules, "stock", "1d")[0] == "local"
        assert vendors(rules, "stock", "1w") == vendors(packaged_rules(), "stock", "1w")

    def test_aliases_in_a_rules_file_name_their_vendors(self, user_file: Path) -> None:
        text = "stock_daily: {primary: yfinance, backup: [yf, AV]}\nproviders: {yf: {cost: mine}}\n"
        rules = load(user_file, text)
        assert vendors(rules, "stock", "1d") == ("yahoo", "alpha_vantage")
        assert rules.provider("yahoo").facts["cost"] == "mine"
        assert rules.provider("yahoo").title == "Yahoo Finance", "key by key"

    def test_empty_sections_change_nothing(self, user_file: Path) -> None:
        text = "crypto:\nproviders:\n  # yahoo: {cost: x}\ncache:\nsymbol_classification:\n"
        rules = load(user_file, text)
        assert rules == packaged_rules()

    def test_switches_may_be_written_as_words(self, user_file: Path) -> None:
        rules = load(user_file, "failover: {enabled: NO}\ncache: {enabled: yes}\n")
        assert rules.failover.enabled is False
        assert rules.cache.enabled is True

    def test_texts_that_yaml_would_twist(self, user_file: Path) -> None:
        text = (
            "symbol_classification: {stock: {exchange_suffixes: "
            "{.QX: {name: Q, calendar: XOSL, country: NO}}}}\n"
        )
        assert load(user_file, text).classification.exchanges[".QX"].country == "NO"

    def test_a_suffix_may_be_a_name_alone(self, user_file: Path) -> None:
        rules = load(
            user_file,
            "symbol_classification: {stock: {exchange_suffixes: {.L: London, .NG: Lagos}}}\n",
        )
        assert rules.classification.exchanges[".L"].name == "London"
        assert rules.classification.exchanges[".L"].calendar == "XLON", "the rest stays"
        assert rules.classification.exchanges[".NG"].calendar == "24/5"

    def test_a_changed_file_is_read_again(self, user_file: Path) -> None:
        assert load(user_file, "cache: {max_size_gb: 1}\n").cache.max_size_gb == 1
        assert load(user_file, "cache: {max_size_gb: 2}\n").cache.max_size_gb == 2

    def test_a_file_of_older_days_loads(self, user_file: Path) -> None:
        rules = load(
            user_file,
            """
            symbol_classification:
              crypto:
                patterns: ["^[A-Z]{2,10}USDT$"]
                suffixes: [USDT, USDC, BTC, USD]
                known_assets: [BTC, ETH, 1INCH]
              stock:
                patterns: ["^[A-Z]{2,5}$", "^[A-Z]{1,4}\\\\.[A-Z]$"]
                exchange_suffixes: {".L": "London Stock Exchange", ".NBO": "Nairobi"}
            stock_weekly_monthly:
              primary: tiingo
              backup: [yahoo, fmp]
              timeframes: [1w, 1M]
              description: "Long-term"
            providers:
              alpaca:
                name: "Alpaca Markets"
                type: "stock"
                rate_limits: {requests_per_minute: 200, requests_per_day: null}
                cost: "free"
                data_quality: 5
                reliability: 5
                coverage: "excellent"
                api_key_required: true
                api_key_env: "ALPACA_API_KEY"
                secret_key_env: "ALPACA_SECRET_KEY"
            live_feeds:
              coingecko: {class: CoinGeckoLiveDataFeed, websocket: false, polling_interval: 300,
                          supported_timeframes: [1d]}
            failover: {enabled: true, max_retries: 3, retry_delay: 1.0, exponential_backoff: true}
            cache: {enabled: true, default_ttl_hours: 24, max_size_gb: 10.0, compression: "gzip"}
            validation: {enabled: true, min_quality_score: 0.8, check_gaps: true, check_duplicates: true}
            """,
        )
        assert vendors(rules, "stock", "1w") == ("tiingo", "yahoo", "fmp")
        assert rules.provider("alpaca").api_key_required
        assert rules.classification.assets == {"BTC", "ETH", "1INCH"}

    def test_settings_of_vendors_are_read_from_a_rules_file(self, user_file: Path) -> None:
        rules = load(
            user_file,
            "providers:\n"
            "  binance: {base_url: 'https://api.mirror.example', settle_minutes: 5, transport: http}\n"
            "  local: {folder: bars, columns: {open: Open}, timezone: Europe/Paris, unit: EUR,\n"
            '    delimiter: "\\t"}\n',
        )
        binance, local = rules.provider("binance"), rules.provider("local")
        assert (binance.base_url, binance.settle_minutes) == ("https://api.mirror.example", 5)
        assert binance.transport == "http"
        assert binance.rate_limits == {"requests_per_minute": 1200.0}
        assert dict(local.options) == {
            "folder": "bars", "columns": {"open": "Open"}, "timezone": "Europe/Paris", "unit": "EUR",
            "delimiter": "\t",
        }  # fmt: skip

    @pytest.mark.parametrize(
        "url", ["http://127.0.0.1:8080", "http://localhost:1", "https://a.b/c"]
    )
    def test_addresses_that_are_safe(self, user_file: Path, url: str) -> None:
        rules = load(user_file, f"providers: {{yahoo: {{base_url: '{url}'}}}}")
        assert rules.provider("yahoo").base_url == url

    def test_the_packaged_rules_are_not_changed_by_a_users_file(self, user_file: Path) -> None:
        before = load_rules().plain["stock_weekly_monthly"]["timeframes"]
        load(user_file, "stock_daily: {primary: yahoo, timeframes: [1d, 1w]}\n")
        assert (
            load_rules().plain["stock_weekly_monthly"]["timeframes"] == before == ["1w", "1M", "3M"]
        )


class TestPackaged:
    def test_the_default_rules_list_these_vendors_per_asset_class_and_timeframe(self) -> None:
        rules = load_rules()
        assert vendors(rules, "crypto", "5m") == ("binance", "coingecko", "alpha_vantage", "yahoo")
        every = ("1m", "5m", "15m", "30m", "1h", "4h", "1d", "1w", "1M")
        for asset_class in ("forex", "index", "future"):
            assert {vendors(rules, asset_class, t) for t in every} == {("yahoo",)}
        usual = "fmp alpaca alpha_vantage polygon yahoo".split()
        for timeframe in every[:6]:
            found = vendors(rules, "stock", timeframe)
            assert [v for v in usual if v in found] == list(found)
        assert vendors(rules, "stock", "1d")[:3] == ("yahoo", "alpaca", "tiingo")
        assert vendors(rules, "stock", "1w")[:2] == vendors(rules, "stock", "1M")[:2]
        assert vendors(rules, "stock", "1w")[:2] == ("tiingo", "yahoo")
        assert vendors(rules, "stock", "7m") == ()

    @pytest.mark.parametrize(
        "timeframe, name",
        [("1m", "stock_intraday"), ("4h", "stock_intraday"), ("1d", "stock_daily"),
         ("1w", "stock_weekly_monthly"), ("1M", "stock_weekly_monthly")],
    )  # fmt: skip
    def test_a_timeframe_selects_its_rule(self, timeframe: str, name: str) -> None:
        rule = load_rules().rule_for("stock", Timeframe.parse(timeframe))
        assert rule is not None
        assert rule.name == name

    def test_the_packaged_rules_have_every_section(self) -> None:
        rules = load_rules()
        assert rules.failover.max_retries == 3
        assert (rules.cache.default_ttl_hours, rules.cache.max_size_gb) == (24, 10.0)
        assert rules.validation.min_quality_score == 0.8
        assert rules.provider("yahoo").rate_limits["requests_per_minute"] == 60
        assert rules.provider("nobody").title == ""

    def test_the_file_is_that_of_the_tree(self) -> None:
        assert packaged_bytes() == TREE.read_bytes()

    def test_the_installed_package_comes_first(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "provider_rules.yaml").write_text("crypto: {primary: binance}\n")
        asked: list[str] = []

        def fake(name: str) -> ModuleType:
            asked.append(name)
            return ModuleType(name)

        monkeypatch.setattr("importlib.resources.files", lambda _: tmp_path)
        monkeypatch.setattr(importlib, "import_module", fake)
        assert packaged_bytes() == b"crypto: {primary: binance}\n"
        assert asked == ["onetape.data.default_config"]

    def test_every_exchange_has_a_calendar_and_its_own_timezone(self) -> None:
        import exchange_calendars

        names = set(exchange_calendars.get_calendar_names(include_aliases=False))
        for venue in load_rules().classification.exchanges.values():
            assert venue.calendar in names, venue
            zone = str(getattr(library_class(venue.calendar), "tz", ""))
            same_time = {"Europe/Brussels": "Europe/Berlin"}
            assert same_time.get(zone, zone) == same_time.get(venue.timezone, venue.timezone), venue


class TestMappings:
    def test_a_mapping_is_checked_like_a_file(self) -> None:
        with pytest.raises(RulesError) as caught:
            rules_of({"crypto": {"primary": "binanse"}, "cach": {}})
        assert len(caught.value.problems) == 2

    def test_a_number_that_has_no_float_is_a_mistake(self) -> None:
        mapping = {"providers": {"yahoo": {"rate_limits": {"requests_per_minute": 10**400}}}}
        with pytest.raises(RulesError, match="must be a number of at least 0"):
            rules_of(mapping)

    def test_a_whole_mapping_needs_its_primaries(self) -> None:
        with pytest.raises(RulesError, match=r"crypto: primary is missing"):
            rules_of({"crypto": {"backup": ["yahoo"]}})

    def test_an_empty_rules_file_has_the_defaults(self) -> None:
        rules = rules_of({})
        assert rules.failover.max_retries == 3
        assert rules.rule_for("crypto", Timeframe.parse("1d")) is None


class TestAsRead:
    """The packaged rules come as YAML and, for those in a hurry, as they read."""

    def test_both_say_the_same(self) -> None:
        data = packaged_bytes()
        rules = read_rules(data, "the packaged rules").plain
        document = {"sha256": sha256(data).hexdigest(), "rules": rules}
        assert json.loads(module.AS_READ.read_bytes()) == document, "run `make docs`"
        assert packaged_rules() == read_rules(data, "the packaged rules")

    def test_yaml_is_not_even_loaded(self, fresh: Fresh) -> None:
        program = (
            "import sys\n"
            "from src.data.core.config.rules_file import load_rules\n"
            "load_rules()\n"
            "print('yaml' in sys.modules)\n"
        )
        assert fresh.run(program) == "False\n"

    def test_the_yaml_counts_where_they_differ(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        changed = packaged_bytes().replace(b"max_retries: 3", b"max_retries: 4")
        assert changed != packaged_bytes()
        (tmp_path / module.FILE_NAME).write_bytes(changed)
        monkeypatch.setattr(module, "packaged_path", tmp_path.joinpath)
        assert packaged_rules.__wrapped__().failover.max_retries == 4

    @pytest.mark.parametrize("damaged", [b"", b"{}", b"[]", b'{"sha256": 1, "rules": {}}', b"\xff"])
    def test_packaged_rules_are_read_though_their_parsed_copy_is_damaged(
        self, damaged: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        whole = packaged_rules()
        monkeypatch.setattr(module, "AS_READ", tmp_path / "packaged_rules.json")
        assert packaged_rules.__wrapped__() == whole
        module.AS_READ.write_bytes(damaged)
        assert packaged_rules.__wrapped__() == whole


class TestOlderFiles:
    def test_what_cannot_be_obeyed_is_told_once_a_file(
        self, user_file: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        text = (
            "description: of an older tool\n"
            "cache: {compression: none}\n"
            "validation:\n"
            "  enabled: false\n"
            "  check_duplicates: no\n"
        )
        for _ in range(2):
            load(user_file, text)
        (said,) = [r.getMessage() for r in caplog.records]
        assert str(user_file) in said
        assert "validation.enabled: answers are always checked (line 4)" in said
        assert (
            "validation.check_duplicates: one of two rows with the same stamp is always kept (line 5)"
            in said
        )
        assert "cache.compression: files are always gzip (line 2)" in said

    def test_a_setting_that_names_what_always_applies_is_not_logged(
        self, user_file: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        load(user_file, "cache: {compression: gzip}\nvalidation: {enabled: yes}\n")
        assert caplog.records == []

    def test_without_a_cache_bars_lie_in_a_folder_of_the_process(
        self, fresh: Fresh, tmp_path: Path
    ) -> None:
        (tmp_path / "rules.yaml").write_text("cache: {enabled: false}")
        program = (
            "import pathlib\n"
            "from src.data import DataManager\n"
            f"manager = DataManager({str(tmp_path / 'cache')!r}, {str(tmp_path / 'rules.yaml')!r})\n"
            "folder = pathlib.Path(manager.cache.cache_dir)\n"
            "(folder / 'x').write_text('x')\n"
            "print(folder)\n"
        )
        folder = Path(fresh.run(program, to_the_end=True).strip())
        assert folder.name.startswith("onetape-cache-")
        assert not folder.exists()
        assert not (tmp_path / "cache").exists()
