#!/bin/sh
here=$(dirname "$0")
exec python3 make_wheel.py "$1/bazel_demo-1.1-cp311-cp311-linux_aarch64.whl" "$here"/_dot.*.so "$here/program"
