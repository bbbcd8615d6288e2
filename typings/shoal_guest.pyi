# What code in a box imports; the module exists in boxes only.
from shoal.boxes.guest.errors import *  # noqa: F403
from shoal.boxes.guest.sdk import *  # noqa: F403

BOX_NAME: str
