"""A wall clock that is off, for the Python programs of one instance: Python imports a module of this name at its start.

time.time and datetime.now are shifted by LOCAL_CLOUD_CLOCK_OFFSET_SECONDS, durations (time.monotonic) are not. Other
programs, and what is written in C, see the machine's own clock.
"""

import datetime
import os
import time
from datetime import date as _date
from datetime import datetime as _datetime

OFFSET = float(os.environ.get("LOCAL_CLOUD_CLOCK_OFFSET_SECONDS", "0"))

_time, _time_ns, _gmtime, _localtime = time.time, time.time_ns, time.gmtime, time.localtime
_ctime, _strftime = time.ctime, time.strftime


def _shifted() -> float:
    return _time() + OFFSET


class _OfTheRealKind(type):
    """What C code makes is of the real class, and must count as one of ours."""

    def __instancecheck__(cls, one: object) -> bool:
        return isinstance(one, cls.__mro__[1])

    def __subclasscheck__(cls, one: type) -> bool:
        return issubclass(one, cls.__mro__[1])


class _Datetime(_datetime, metaclass=_OfTheRealKind):
    @classmethod
    def now(cls, tz: "datetime.tzinfo | None" = None) -> "_Datetime":
        return cls.fromtimestamp(_shifted(), tz)

    @classmethod
    def today(cls) -> "_Datetime":
        return cls.fromtimestamp(_shifted())

    @classmethod
    def utcnow(cls) -> "_Datetime":
        return cls.now(datetime.UTC).replace(tzinfo=None)


class _Date(_date, metaclass=_OfTheRealKind):
    @classmethod
    def today(cls) -> "_Date":
        return cls.fromtimestamp(_shifted())


if OFFSET:
    time.time = _shifted
    time.time_ns = lambda: _time_ns() + int(OFFSET * 1e9)
    time.gmtime = lambda seconds=None: _gmtime(_shifted() if seconds is None else seconds)
    time.localtime = lambda seconds=None: _localtime(_shifted() if seconds is None else seconds)
    time.ctime = lambda seconds=None: _ctime(_shifted() if seconds is None else seconds)
    time.strftime = lambda form, moment=None: _strftime(form, time.localtime() if moment is None else moment)
    vars(datetime).update(datetime=_Datetime, date=_Date)
