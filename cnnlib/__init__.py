"""cnnlib: convolutional nets on the CPU."""

import os as _os

from cnnlib import config as _config
from cnnlib._version import __version__
from cnnlib.config import get_num_threads, set_num_threads, show_config

_config.configure(_os.environ)

__all__ = ["__version__", "get_num_threads", "set_num_threads", "show_config"]
