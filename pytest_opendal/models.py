"""What a storage answers: the same fields and JSON as Jumpstarter's OpenDAL driver, and newer ones.

Field names and meanings come from opendal's own types; a field that the installed opendal or the
service does not report is None (False for a capability).
"""

from __future__ import annotations

import warnings
from datetime import datetime
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from pytest_opendal.redacting import Url


class EntryMode(BaseModel):
    """Whether a path is a file or a directory."""

    model_config = ConfigDict(frozen=True, from_attributes=True)

    entry_is_file: bool = Field(serialization_alias="is_file")
    entry_is_dir: bool = Field(serialization_alias="is_dir")

    @model_validator(mode="before")
    @classmethod
    def _from_opendal(cls, data: Any) -> Any:
        if isinstance(data, (cls, dict)):
            return data
        return {"entry_is_file": data.is_file(), "entry_is_dir": data.is_dir()}

    def is_file(self) -> bool:
        """Whether the path is a file."""
        return self.entry_is_file

    def is_dir(self) -> bool:
        """Whether the path is a directory."""
        return self.entry_is_dir


class Metadata(BaseModel):
    """Metadata of a path."""

    model_config = ConfigDict(frozen=True, from_attributes=True)

    content_disposition: str | None = None
    content_length: int
    """Size in bytes; 0 for a directory."""
    content_md5: str | None = None
    content_type: str | None = None
    etag: str | None = None
    mode: EntryMode
    cache_control: str | None = None
    content_encoding: str | None = None
    last_modified: datetime | None = None
    version: str | None = None
    user_metadata: dict[str, str] | None = None


class PresignedRequest(BaseModel):
    """A signed HTTP request that a stranger without credentials can perform.

    Its repr hides the query of the URL and the header values: they hold the key id and a signature.
    """

    model_config = ConfigDict(frozen=True, from_attributes=True)

    url: Annotated[str, AfterValidator(Url)]
    """URL with the signature in its query, which the repr of this text hides as well."""
    method: str
    """HTTP method: GET, HEAD, PUT or DELETE."""
    headers: dict[str, str]
    """Headers that have to be sent with the request."""

    def __repr_args__(self) -> list[tuple[str | None, Any]]:
        """Return what the repr shows (pydantic's hook for ``repr`` and ``str``)."""
        return [
            ("url", Url(self.url)),
            ("method", self.method),
            ("headers", dict.fromkeys(self.headers, "...")),
        ]


with warnings.catch_warnings():
    # The field is called `copy` in opendal and in the driver; pydantic 2 warns that it hides its own
    # deprecated BaseModel.copy.
    warnings.filterwarnings("ignore", message='Field name "copy"', category=UserWarning)

    class Capability(BaseModel):
        """What the service can do; the names are opendal's."""

        model_config = ConfigDict(frozen=True, from_attributes=True)

        stat: bool = False
        stat_with_if_match: bool = False
        stat_with_if_none_match: bool = False
        stat_with_if_modified_since: bool = False
        stat_with_if_unmodified_since: bool = False
        stat_with_version: bool = False

        read: bool = False
        read_with_if_match: bool = False
        read_with_if_none_match: bool = False
        read_with_if_modified_since: bool = False
        read_with_if_unmodified_since: bool = False
        read_with_version: bool = False
        read_with_override_cache_control: bool = False
        read_with_override_content_disposition: bool = False
        read_with_override_content_type: bool = False

        write: bool = False
        write_can_multi: bool = False
        write_can_empty: bool = False
        write_can_append: bool = False
        write_with_content_type: bool = False
        write_with_content_disposition: bool = False
        write_with_content_encoding: bool = False
        write_with_cache_control: bool = False
        write_with_if_match: bool = False
        write_with_if_none_match: bool = False
        write_with_if_not_exists: bool = False
        write_with_user_metadata: bool = False
        write_multi_max_size: int | None = None
        write_multi_min_size: int | None = None
        write_total_max_size: int | None = None

        create_dir: bool = False
        delete: bool = False
        delete_with_recursive: bool = False
        delete_with_version: bool = False
        copy: bool = False  # type: ignore[assignment]
        rename: bool = False

        list: bool = False
        list_with_limit: bool = False
        list_with_start_after: bool = False
        list_with_recursive: bool = False
        list_with_versions: bool = False
        list_with_deleted: bool = False

        presign: bool = False
        presign_read: bool = False
        presign_stat: bool = False
        presign_write: bool = False
        presign_delete: bool = False

        shared: bool = False
        blocking: bool = False
