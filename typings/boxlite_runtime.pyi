from shoal_guest import *  # noqa: F403
