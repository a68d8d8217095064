"""Open the object store that the environment names. Adapters are imported only when used: a Lambda's start pays for one.

TILERY_STORE is `file:///abs/root` (the twin) or `s3`, with TILERY_DROP_BUCKET, TILERY_WORK_BUCKET, TILERY_RESULTS_BUCKET
(the ledger lives in the results bucket), TILERY_DATA_ROLE and AWS_ENDPOINT_URL_S3 where they apply.
"""

import os
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from tilery.store.port import Store

if TYPE_CHECKING:
    from tilery.store.s3 import S3Store


def open_store(tenant: str = "") -> Store:
    """The store, for one tenant's data when `tenant` is given and the deployment has a data role, else for this role's.

    Raises ValueError when TILERY_STORE is missing or is neither of the two forms.
    """
    store = _open(os.environ.get("TILERY_STORE", ""), tenant)
    record = os.environ.get("TILERY_RECORD")
    if not record:
        return store
    from tilery.store.recording import RecordingStore

    return RecordingStore(store, record, os.environ.get("POWERTOOLS_SERVICE_NAME", ""), tenant)


def _open(place: str, tenant: str) -> Store:
    if place == "s3":
        names = tuple(os.environ[f"TILERY_{area}_BUCKET"] for area in ("DROP", "WORK", "RESULTS"))
        role = os.environ.get("TILERY_DATA_ROLE", "") if tenant else ""
        return _on_s3(names, role, tenant if role else "", os.environ.get("AWS_ENDPOINT_URL_S3", ""))
    url = urlsplit(place)
    if url.scheme == "file" and url.path.startswith("/") and not url.netloc:
        from tilery.store.directory import DirectoryStore

        return DirectoryStore(unquote(url.path))
    raise ValueError(f"TILERY_STORE is {place!r}; set it to file:///path/of/a/folder or to s3")


@lru_cache(maxsize=32)
def _on_s3(names: tuple[str, ...], role: str, tenant: str, endpoint: str) -> "S3Store":
    """Kept while the process lives, so that a warm Lambda neither assumes the role nor connects again."""
    from tilery.store.s3 import S3Store

    drop, work, results = names
    session = None
    if role:
        from tilery.store.credentials import tenant_session

        session = tenant_session(role, tenant)
    return S3Store({"drop": drop, "work": work, "results": results, "ledger": results}, session, endpoint=endpoint)
