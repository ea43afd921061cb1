"""Runs a script from another folder with the kit of this one: run_with_kit.py SCRIPT [ARGUMENT...]"""

import runpy
import sys

if __name__ == "__main__":
    # Python has put the folder of this file on the path of modules; the script imports the kit from there.
    del sys.argv[0]
    runpy.run_path(sys.argv[0], run_name="__main__")
