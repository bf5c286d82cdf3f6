from expert_system.rpc.pb.expert.v1 import inference_pb2 as _inference_pb2
from expert_system.rpc.pb.expert.v1 import types_pb2 as _types_pb2
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class RouteRequest(_message.Message):
    __slots__ = ("prompt", "chat", "routing", "sampling_params", "request_id")
    PROMPT_FIELD_NUMBER: _ClassVar[int]
    CHAT_FIELD_NUMBER: _ClassVar[int]
    ROUTING_FIELD_NUMBER: _ClassVar[int]
    SAMPLING_PARAMS_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    prompt: str
    chat: _inference_pb2.Chat
    routing: _types_pb2.RoutingOptions
    sampling_params: _types_pb2.SamplingParams
    request_id: str
    def __init__(self, prompt: _Optional[str] = ..., chat: _Optional[_Union[_inference_pb2.Chat, _Mapping]] = ..., routing: _Optional[_Union[_types_pb2.RoutingOptions, _Mapping]] = ..., sampling_params: _Optional[_Union[_types_pb2.SamplingParams, _Mapping]] = ..., request_id: _Optional[str] = ...) -> None: ...

class RouteResponse(_message.Message):
    __slots__ = ("request_id", "routing")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    ROUTING_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    routing: _types_pb2.Routing
    def __init__(self, request_id: _Optional[str] = ..., routing: _Optional[_Union[_types_pb2.Routing, _Mapping]] = ...) -> None: ...
