"""``onetape search``: table and JSON, exit codes, and escaped names."""

from __future__ import annotations

from tests.cli.conftest import Run
from tests.vendor_server import Fault, VendorServer
from tests.vendor_server.listings import Listing


def test_symbols_are_shown_as_table_and_json(run: Run, vendors: VendorServer) -> None:
    shown = run("search", "apple", "inc")
    assert shown.code == 0, shown.err
    assert "AAPL    Apple Inc.  NMS    stock  USD       yahoo" in shown.out
    asked = vendors.count()
    (told,) = run("search", "apple", "--offline", "--json").json
    assert (told["symbol"], told["currency"]) == ("AAPL", "USD")
    assert vendors.count() == asked


def test_a_search_without_a_match_or_text_or_vendor_exits_with_its_code(
    run: Run, vendors: VendorServer
) -> None:
    nothing = run("search", "no such name")
    assert nothing.code == 1 and "no symbol or name matches 'no such name'" in nothing.out
    assert run("search", "...").code == 2
    vendors.fault("yahoo", Fault.status(404))
    refused = run("search", "vod")
    assert refused.code == 1 and "All providers failed for a search" in refused.err


def test_names_do_not_drive_the_terminal(run: Run, vendors: VendorServer) -> None:
    vendors.truth.add(Listing("EVIL", "stock", 10.0, calendar="XNYS", timezone="America/New_York",
                              name="\x1b]0;owned\x07[red]Evil[/red]\u202e Corp"))  # fmt: skip
    shown = run("search", "evil")
    assert shown.code == 0 and "[red]Evil[/red] Corp" in shown.out
    assert not {"\x1b", "\x07", "\u202e"} & set(shown.out)
