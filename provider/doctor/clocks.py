"""How far two clocks may be apart."""

from __future__ import annotations

from datetime import datetime

from provider.doctor.examination import State, Verdict, ok

#: Seconds of difference from which on it is told, and from which on it does harm: leases and deadlines are compared.
WARNING_SECONDS = 2.0
ERROR_SECONDS = 30.0


def judged_skew(theirs: datetime, ours: datetime, trip: float, whose: str, *, resolution: float = 0.0) -> Verdict:
    """
    Judge the difference of two clocks.

    :param theirs: what the other clock said.
    :param ours: what this machine's clock said after the answer.
    :param trip: seconds that the answer took: in them the other clock was read.
    :param resolution: seconds to which the other clock's answer is cut.
    """
    ahead = (theirs - ours).total_seconds()
    least = max(ahead, -ahead - trip - resolution, 0.0)
    seen = f"this machine and {whose} differ by {least:.1f} s at least"
    if least < WARNING_SECONDS:
        return ok(f"this machine and {whose} agree")
    remedy = f"Synchronize the clocks of this machine and of {whose} (NTP)."
    return Verdict(State.WARNING if least < ERROR_SECONDS else State.ERROR, seen, remedy)
