from expert_system.rpc.pb.expert.v1 import types_pb2 as _types_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Expert(_message.Message):
    __slots__ = ("name", "version", "digest", "description", "category", "load_order", "verified", "loaded", "in_slot", "pinned", "size_bytes", "loadable", "capabilities")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    CATEGORY_FIELD_NUMBER: _ClassVar[int]
    LOAD_ORDER_FIELD_NUMBER: _ClassVar[int]
    VERIFIED_FIELD_NUMBER: _ClassVar[int]
    LOADED_FIELD_NUMBER: _ClassVar[int]
    IN_SLOT_FIELD_NUMBER: _ClassVar[int]
    PINNED_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    LOADABLE_FIELD_NUMBER: _ClassVar[int]
    CAPABILITIES_FIELD_NUMBER: _ClassVar[int]
    name: str
    version: str
    digest: str
    description: str
    category: _types_pb2.Category
    load_order: int
    verified: bool
    loaded: bool
    in_slot: bool
    pinned: bool
    size_bytes: int
    loadable: bool
    capabilities: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, name: _Optional[str] = ..., version: _Optional[str] = ..., digest: _Optional[str] = ..., description: _Optional[str] = ..., category: _Optional[_Union[_types_pb2.Category, str]] = ..., load_order: _Optional[int] = ..., verified: bool = ..., loaded: bool = ..., in_slot: bool = ..., pinned: bool = ..., size_bytes: _Optional[int] = ..., loadable: bool = ..., capabilities: _Optional[_Iterable[str]] = ...) -> None: ...

class ListRequest(_message.Message):
    __slots__ = ("loaded_only",)
    LOADED_ONLY_FIELD_NUMBER: _ClassVar[int]
    loaded_only: bool
    def __init__(self, loaded_only: bool = ...) -> None: ...

class ListResponse(_message.Message):
    __slots__ = ("experts", "base", "base_digest", "slots", "slots_used", "dtype")
    EXPERTS_FIELD_NUMBER: _ClassVar[int]
    BASE_FIELD_NUMBER: _ClassVar[int]
    BASE_DIGEST_FIELD_NUMBER: _ClassVar[int]
    SLOTS_FIELD_NUMBER: _ClassVar[int]
    SLOTS_USED_FIELD_NUMBER: _ClassVar[int]
    DTYPE_FIELD_NUMBER: _ClassVar[int]
    experts: _containers.RepeatedCompositeFieldContainer[Expert]
    base: str
    base_digest: str
    slots: int
    slots_used: int
    dtype: str
    def __init__(self, experts: _Optional[_Iterable[_Union[Expert, _Mapping]]] = ..., base: _Optional[str] = ..., base_digest: _Optional[str] = ..., slots: _Optional[int] = ..., slots_used: _Optional[int] = ..., dtype: _Optional[str] = ...) -> None: ...

class GetRequest(_message.Message):
    __slots__ = ("expert",)
    EXPERT_FIELD_NUMBER: _ClassVar[int]
    expert: _types_pb2.ExpertRef
    def __init__(self, expert: _Optional[_Union[_types_pb2.ExpertRef, _Mapping]] = ...) -> None: ...

class GetResponse(_message.Message):
    __slots__ = ("expert",)
    EXPERT_FIELD_NUMBER: _ClassVar[int]
    expert: Expert
    def __init__(self, expert: _Optional[_Union[Expert, _Mapping]] = ...) -> None: ...

class LoadRequest(_message.Message):
    __slots__ = ("expert",)
    EXPERT_FIELD_NUMBER: _ClassVar[int]
    expert: _types_pb2.ExpertRef
    def __init__(self, expert: _Optional[_Union[_types_pb2.ExpertRef, _Mapping]] = ...) -> None: ...

class LoadResponse(_message.Message):
    __slots__ = ("expert", "load_seconds", "attach_seconds")
    EXPERT_FIELD_NUMBER: _ClassVar[int]
    LOAD_SECONDS_FIELD_NUMBER: _ClassVar[int]
    ATTACH_SECONDS_FIELD_NUMBER: _ClassVar[int]
    expert: Expert
    load_seconds: float
    attach_seconds: float
    def __init__(self, expert: _Optional[_Union[Expert, _Mapping]] = ..., load_seconds: _Optional[float] = ..., attach_seconds: _Optional[float] = ...) -> None: ...

class UnloadRequest(_message.Message):
    __slots__ = ("expert",)
    EXPERT_FIELD_NUMBER: _ClassVar[int]
    expert: _types_pb2.ExpertRef
    def __init__(self, expert: _Optional[_Union[_types_pb2.ExpertRef, _Mapping]] = ...) -> None: ...

class UnloadResponse(_message.Message):
    __slots__ = ("expert",)
    EXPERT_FIELD_NUMBER: _ClassVar[int]
    expert: Expert
    def __init__(self, expert: _Optional[_Union[Expert, _Mapping]] = ...) -> None: ...

class PinRequest(_message.Message):
    __slots__ = ("expert", "unpin")
    EXPERT_FIELD_NUMBER: _ClassVar[int]
    UNPIN_FIELD_NUMBER: _ClassVar[int]
    expert: _types_pb2.ExpertRef
    unpin: bool
    def __init__(self, expert: _Optional[_Union[_types_pb2.ExpertRef, _Mapping]] = ..., unpin: bool = ...) -> None: ...

class PinResponse(_message.Message):
    __slots__ = ("expert",)
    EXPERT_FIELD_NUMBER: _ClassVar[int]
    expert: Expert
    def __init__(self, expert: _Optional[_Union[Expert, _Mapping]] = ...) -> None: ...
