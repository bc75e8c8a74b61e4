"""The family ``replay``: a vendor's recorded answers, replayed from a folder.

While answers are recorded, the environment variable ``ONETAPE_RECORD`` names the folder.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Unpack, cast

from ....errors import ConfigError, UnknownProviderError
from ...model.identity.instrument import Instrument
from ...model.identity.series import folder_lane
from ...model.market.actions import Action, ActionList
from ...model.request.capabilities import Fetched, FetchQuery, Limits
from ...model.time.span import Span
from ...model.time.timeframe import Timeframe
from ...net.http.recordings import Recording, recorded_files, recorded_vendors
from ...net.http.source_files import FolderDigest
from ...registry import folder_of
from ..base import BaseDataDownloader, Wired
from ..factory import downloader_class


class ReplayDownloader(BaseDataDownloader):
    """Replays the bars, splits and dividends that a vendor returned while they were being recorded.

    ``provider="replay:<folder>"`` queries the vendor whose answers were recorded in the folder,
    without a network and without keys: the vendor's class builds the requests, the files answer
    them, and the class parses the answers. This vendor is used only by calls that name it; its bars
    and actions are kept separate from those of all other vendors. Requests that were made with an
    optional key, such as CoinGecko's, cannot be replayed.

    Raises:
        ConfigError: The name does not contain a folder; to get the class for a folder, call
            :meth:`member`.
    """

    name = "replay"
    display_name = "Recorded answers"
    limits = Limits(burst=0)

    def __init__(self, **wired: Unpack[Wired]) -> None:
        raise ConfigError(
            "replay needs a folder of recordings",
            provider=self.name,
            hint="add it after a colon, such as replay:recordings/binance",
        )

    @classmethod
    def member(cls, name: str) -> type[BaseDataDownloader]:
        """Return the class that replays a folder, given a name such as ``replay:recordings``.

        Raises:
            UnknownProviderError: The folder does not contain recorded answers, or contains answers
                from several vendors.
            MissingExtraError: The vendor belongs to a family whose package is not installed.
        """
        folder = _folder_of(name)
        vendors = recorded_vendors(folder)
        if len(vendors) != 1:
            raise UnknownProviderError(
                f"the folder {folder} contains recorded answers from {_vendors_text(vendors)}",
                provider=name,
                hint=f"name one of them: replay:{folder / next(iter(vendors))}"
                if vendors
                else "set ONETAPE_RECORD=<folder> and query vendors to record answers",
            )
        ((vendor, answers),) = vendors.items()
        base = downloader_class(vendor)
        declared: dict[str, Any] = {
            "name": name,
            "aliases": (),
            "display_name": f"Recorded answers from {base.display_name}",
            "recorded_vendor": vendor,
            "answers": answers,
            "limits": cls.limits,
            "default_base_url": "",  # on this machine, so neither limits nor circuit breakers
            "sdk_carrier": "",
            "__module__": __name__,
            "__doc__": cls.__doc__,
        }
        return cast("type[BaseDataDownloader]", type(base.__name__, (_Replayed, base), declared))


class _Replayed(BaseDataDownloader):
    """A mixin, placed before a vendor's own class, that answers the vendor's requests from files.

    Attributes:
        recorded_vendor: Vendor that was queried.
        answers: Folder with the vendor's recorded exchanges.
    """

    recorded_vendor: ClassVar[str]
    answers: ClassVar[Path]

    def __init__(self, **wired: Unpack[Wired]) -> None:
        # An optional key may change the requests, so requests are replayed as they are sent without
        # a key.
        keys = _AnyKey() if self.requires_api_key else {}
        wired |= {"carrier": Recording(self.answers), "credentials": keys}
        wired.pop("base_url", None)
        super().__init__(**wired)
        self._digest = FolderDigest()

    @property
    def folder_lane(self) -> str:
        """The part of a lane's name that identifies the folder of recordings, derived from its real path."""
        return folder_lane(ReplayDownloader.name, str(self.answers))

    def file_version(self, instrument: Instrument, timeframe: Timeframe) -> str:
        """Return a digest of all recorded answers, because any of them may belong to a series."""
        return self._digest.of(recorded_files(self.answers))

    @property
    def is_there(self) -> bool:
        """Whether the path in the vendor's name, which may be relative, still leads to the same folder."""
        return recorded_vendors(_folder_of(self.name)) == {self.recorded_vendor: self.answers}

    def spelled(self, instrument: Instrument) -> str:
        """Return the name that the recorded requests use for an instrument."""
        return super().spelled(self._as_requested(instrument))

    def fetch(self, query: FetchQuery) -> Fetched:
        """Return the recorded bars; arguments and errors are as for the vendor's class."""
        fetched = super().fetch(replace(query, instrument=self._as_requested(query.instrument)))
        if fetched.actions is None:
            return fetched
        return replace(fetched, actions=self._relabeled(fetched.actions))

    def fetch_actions(self, instrument: Instrument, span: Span, now_ms: int) -> Sequence[Action]:
        """Return the recorded splits and dividends; arguments and errors are as for the vendor's class."""
        return self._relabeled(super().fetch_actions(self._as_requested(instrument), span, now_ms))

    def _relabeled(self, actions: Sequence[Action]) -> Sequence[Action]:
        """Return the actions with this replayed vendor as their source, so that only its bars use them."""
        reported = ActionList(replace(action, source=self.name) for action in actions)
        if isinstance(actions, ActionList):
            reported.since, reported.until = actions.since, actions.until
        return reported

    def _as_requested(self, instrument: Instrument) -> Instrument:
        spelling = instrument.spelling(self.recorded_vendor)
        return replace(instrument, spellings={**instrument.spellings, self.name: spelling})


def _folder_of(name: str) -> Path:
    """Return the folder in a replayed vendor's name, such as ``replay:recordings``."""
    return Path(folder_of(name)).expanduser()


class _AnyKey(Mapping[str, str]):
    """Returns a key for every name, because recorded requests are matched without their keys."""

    def __getitem__(self, name: str) -> str:
        return "recorded-answers-need-no-key"

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0

    def __contains__(self, name: object) -> bool:
        return True


def _vendors_text(vendors: Mapping[str, Path]) -> str:
    return f"{len(vendors)} vendors ({', '.join(vendors)})" if vendors else "no vendor"
