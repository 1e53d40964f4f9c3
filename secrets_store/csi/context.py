"""The type of a servicer's context, which is generic for the type checker only."""

from typing import TYPE_CHECKING, Any

import grpc.aio

if TYPE_CHECKING:
    Context = grpc.aio.ServicerContext[Any, Any]
else:
    Context = grpc.aio.ServicerContext
