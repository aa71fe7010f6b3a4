"""What an acceptor of storage answers to an A-ASSOCIATE-RQ (PS3.8 9.3.3, PS3.7 D.3)."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from engine.dicom.network.pdu import Associate, ContextResult, ProposedContext, Role
from engine.dicom.network.status import Rejection
from engine.dicom.network.uids import (
    APPLICATION_CONTEXT,
    EXPLICIT_LITTLE_ENDIAN,
    IMPLICIT_LITTLE_ENDIAN,
    STORAGE_COMMITMENT,
    VERIFICATION,
    is_storage,
    is_uid,
)

__all__ = [
    "CALLED_AE_UNKNOWN", "CALLING_AE_UNKNOWN", "LOCAL_LIMIT", "NO_REASON", "AcceptedContext", "accept",
    "protocol_refusal",
]

NO_REASON = Rejection((1, 1, 1))
CALLING_AE_UNKNOWN = Rejection((1, 1, 3))
CALLED_AE_UNKNOWN = Rejection((1, 1, 7))
LOCAL_LIMIT = Rejection((2, 3, 2))
_APPLICATION_CONTEXT_UNKNOWN = Rejection((1, 1, 2))
_VERSION_UNKNOWN = Rejection((1, 2, 2))


class AcceptedContext(NamedTuple):
    """An accepted presentation context: the abstract syntax and the one transfer syntax."""

    abstract_syntax: str
    transfer_syntax: str


def protocol_refusal(request: Associate) -> tuple[Rejection, str] | None:
    """Why a request cannot be served whoever sent it, or None."""
    if not request.protocol_version & 1:
        return _VERSION_UNKNOWN, f"it speaks version {request.protocol_version:04X}H of the protocol"
    if request.application_context != APPLICATION_CONTEXT:
        return _APPLICATION_CONTEXT_UNKNOWN, "its application context is not DICOM's"
    return None


def accept(
    request: Associate, max_length: int, transfer_syntaxes: Collection[str] = ()
) -> tuple[Associate, dict[int, AcceptedContext]]:
    """The A-ASSOCIATE-AC for a request, and the contexts it accepts by their IDs.

    Verification and every storage class, private and unknown ones too, are accepted with the first proposed transfer
    syntax (of `transfer_syntaxes`, when given): the sender put it first. Storage commitment is accepted from an archive
    that reports (it proposes itself as SCP, PS3.4 J.3.3), not from who asks for one.
    """
    roles = {role.sop_class_uid: role for role in request.roles}
    accepted: dict[int, AcceptedContext] = {}
    results: list[ContextResult] = []
    for context in request.proposed:
        result, syntax = _answer(context, roles.get(context.abstract_syntax), transfer_syntaxes)
        if result == ContextResult.ACCEPTED:
            accepted[context.id] = AcceptedContext(context.abstract_syntax, syntax)
        results.append(ContextResult(context.id, result, syntax))
    taken = {context.abstract_syntax for context in accepted.values()}
    answer = Associate(
        called_ae=request.called_ae,
        calling_ae=request.calling_ae,
        titles=request.titles,
        max_length=max_length,
        results=tuple(results),
        # we store, and hear reports; we never send here
        roles=tuple(
            Role(uid, scu=uid != STORAGE_COMMITMENT, scp=uid == STORAGE_COMMITMENT) for uid in roles if uid in taken
        ),
    )
    return answer, accepted


def _answer(context: ProposedContext, role: Role | None, allowed: Collection[str]) -> tuple[int, str]:
    fallback = context.transfer_syntaxes[0] if context.transfer_syntaxes else IMPLICIT_LITTLE_ENDIAN
    if context.abstract_syntax == STORAGE_COMMITMENT:
        known = [s for s in context.transfer_syntaxes if s in (EXPLICIT_LITTLE_ENDIAN, IMPLICIT_LITTLE_ENDIAN)]
        if role is None or not role.scp or not known:
            return ContextResult.ABSTRACT_SYNTAX_NOT_SUPPORTED, fallback
        return ContextResult.ACCEPTED, known[0]
    if context.abstract_syntax != VERIFICATION and not is_storage(context.abstract_syntax):
        return ContextResult.ABSTRACT_SYNTAX_NOT_SUPPORTED, fallback
    if role is not None and not role.scu:
        return ContextResult.USER_REJECTION, fallback
    for syntax in context.transfer_syntaxes:
        if is_uid(syntax) and (not allowed or syntax in allowed or context.abstract_syntax == VERIFICATION):
            return ContextResult.ACCEPTED, syntax
    return ContextResult.TRANSFER_SYNTAXES_NOT_SUPPORTED, fallback
