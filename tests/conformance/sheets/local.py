"""Local files: whole series in a folder, without keys, plans or limits."""

from tests.conformance.sheet import NAMELESS, SHARES, Series, Sheet

_NO_SERVER = "files on this machine are nobody's service: no keys, no plans, no limits"
_ONE_FILE = "a file holds all there is, and is opened without a connection"

SHEET = Sheet(
    vendor="local",
    files=True,
    series=(
        Series("AAPL", "1d", "2024-05-28", "2024-06-08"),
        Series("NVDA", "1d", "2024-06-03", "2024-06-12"),
        Series("BRK-B", "30m", "2024-06-06", "2024-06-08", "clock"),
        Series("AAPL", "1w", "2024-04-29", "2024-06-03"),
        Series("VOD.L", "1d", "2024-05-24", "2024-06-01"),
    ),
    shapeless="files of the user",
    excused=NAMELESS
    | dict.fromkeys(
        (
            "a_wrong_key_is_said",
            "a_plan_that_lacks_it_is_said",
            "a_region_that_is_not_served_is_said",
            "too_many_requests_are_waited_for",
            "a_ban_is_waited_for",
            "a_limit_told_with_status_200_is_no_answer",
            "a_firewall_in_html_is_no_answer",
            "servers_that_are_down_may_be_up_again",
        ),
        _NO_SERVER,
    )
    | dict.fromkeys(
        (
            "answers_may_be_compressed",
            "a_drip_is_left_at_the_deadline",
            "pages_that_repeat_come_to_an_end",
            "who_hangs_is_asked_for_nothing_else",
        ),
        _ONE_FILE,
    )
    | {
        "half_an_answer_is_none": "a file that ends early is a shorter file; nobody told its length",
        "the_same_letters_elsewhere_are_another_thing": "whose the files are the user knows",
    },
    **SHARES,
)
