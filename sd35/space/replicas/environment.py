"""Environment variables that Ray reads when it is imported, and passes to its processes."""

import os
import secrets

__all__ = ["prepare_environment"]


def prepare_environment(*, is_own: bool) -> None:
    """Prepare the import of Ray.

    Args:
        is_own: whether Ray will run on this machine alone, and for this process alone.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    # Warns once per start that the variables for GPUs will be handled differently some day.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    # Otherwise a call that comes too late, after the end of Ray, starts it anew.
    os.environ["RAY_ENABLE_AUTO_CONNECT"] = "0"
    if not is_own:
        return
    # Whoever reaches a port of Ray runs programs as this user. By default Ray listens on all
    # interfaces, and trusts everybody. With this variable, Ray's own processes listen on the
    # loopback interface (its name tells of where that is the default); a replica still has a port
    # on all interfaces, which takes only calls with the token, as all others do, too.
    os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    os.environ["RAY_AUTH_MODE"] = "token"
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
