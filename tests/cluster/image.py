"""An OCI image archive out of plain files, without a container engine."""

import hashlib
import io
import json
import tarfile

LAYER = "application/vnd.oci.image.layer.v1.tar"
CONFIG = "application/vnd.oci.image.config.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"


def write(archive, name, files):
    """NAME:TAG with one layer of FILES, {path in the image: path here}; the first of them is what runs."""
    layer = _layer(files)
    config = _json(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Entrypoint": [next(iter(files))], "Env": ["PATH=/"]},
            "rootfs": {"type": "layers", "diff_ids": [_digest(layer)]},
        }
    )
    manifest = _json(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": _descriptor(CONFIG, config),
            "layers": [_descriptor(LAYER, layer)],
        }
    )
    named = _descriptor(MANIFEST, manifest) | {"annotations": {"io.containerd.image.name": name}}
    index = _json({"schemaVersion": 2, "manifests": [named]})
    with tarfile.open(archive, "w") as tar:
        _add(tar, "oci-layout", _json({"imageLayoutVersion": "1.0.0"}))
        _add(tar, "index.json", index)
        for blob in (layer, config, manifest):
            _add(tar, "blobs/sha256/" + _digest(blob).removeprefix("sha256:"), blob)


def _layer(files):
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        for inside, here in files.items():
            with open(here, "rb") as file:
                _add(tar, inside.lstrip("/"), file.read())
    return layer.getvalue()


def _add(tar, name, content):
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    entry.mode = 0o755
    tar.addfile(entry, io.BytesIO(content))


def _json(value):
    return json.dumps(value).encode()


def _digest(content):
    return "sha256:" + hashlib.sha256(content).hexdigest()


def _descriptor(kind, content):
    return {"mediaType": kind, "digest": _digest(content), "size": len(content)}
