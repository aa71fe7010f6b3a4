"""Sends each message as an e-mail.

Guarantee: at least once, in order: kept on disk until the mail server takes it, tried again for three days.
"""

from __future__ import annotations

import smtplib
from email.message import EmailMessage
from email.utils import formatdate
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from engine.channels.base import Channel, Message
from engine.component import HostName
from engine.connection.tls import TlsClient
from engine.errors import Permanent, Retry
from engine.security.outward import Outward
from engine.security.secret_references import SecretReference, resolve
from engine.tls_words import tls_words

__all__ = ["Email"]

Address = Annotated[str, Field(pattern=r"^[^@\s,;<>]+@[^@\s,;<>]+$", max_length=254)]
FIELDS = (
    ("words", ""), ("todo", ""), ("subject", "What"), ("node", "Node"), ("since", "Since"), ("alert", "Alert"), ("id", "Id"),
)  # fmt: skip


class Email(Channel):
    """An e-mail for each message, by a mail server (SMTP)."""

    label: ClassVar[str] = "E-mail"
    tried_by: ClassVar[str] = "e-mail"
    kind: Literal["email"] = "email"
    host: HostName = Field(examples=["mail.hospital.example"])
    """The mail server."""
    port: int = Field(default=587, ge=1, le=65535)
    """Its port: 587 with STARTTLS, 465 with TLS from the beginning, 25 without."""
    security: Literal["starttls", "tls", "none"] = "starttls"
    """How the way there is encrypted. Its certificate is checked."""
    ca: SecretReference | None = Field(default=None, examples=["file:/etc/axiom/hospital-ca.pem"])
    """Where the authorities are (PEM) whose certificates count; none: those of this machine."""
    user: str = Field(default="", max_length=254)
    """For signing in at the mail server; empty: without."""
    password: SecretReference | None = None
    """The password of that user."""
    sender: Address = Field(examples=["axiom@hospital.example"])
    """Who it is from."""
    to: list[Address] = Field(min_length=1, max_length=50, examples=[["pacs-team@hospital.example"]])
    """Who gets it."""

    @model_validator(mode="after")
    def _signs_in_encrypted(self) -> Self:
        if bool(self.user) != (self.password is not None):
            raise ValueError("a user needs a password, and a password a user")
        if self.user and self.security == "none":
            raise ValueError("a password is not sent over a way that is not encrypted: choose starttls or tls")
        return self

    def tell(self, message: Message, guard: Outward) -> None:
        mail = self._mail(message)
        try:
            with self._connect() as server:
                if self.user and self.password is not None:
                    server.login(self.user, resolve(self.password).get_secret_value())
                server.send_message(mail, self.sender, self.to)
        except smtplib.SMTPRecipientsRefused as e:
            codes = [code for code, _ in e.recipients.values()]
            words = f"The mail server {self.host} refused every recipient ({codes[0]})."
            raise (Permanent(words) if all(c >= 500 for c in codes) else Retry(words)) from e
        except smtplib.SMTPResponseException as e:
            raise Retry(f"The mail server {self.host} answered {e.smtp_code}.", str(e.smtp_code)) from e
        except (smtplib.SMTPException, OSError) as e:
            raise Retry(f"The mail server {self.host} cannot be used: {tls_words(e) or f'{type(e).__name__}: {e}'}.") from e

    def _connect(self) -> smtplib.SMTP:
        if self.security == "tls":
            return smtplib.SMTP_SSL(self.host, self.port, timeout=20, context=TlsClient(ca=self.ca).context())
        server = smtplib.SMTP(self.host, self.port, timeout=20)
        if self.security == "starttls":
            try:
                server.starttls(context=TlsClient(ca=self.ca).context())
            except BaseException:
                server.close()
                raise
        return server

    def _mail(self, message: Message) -> EmailMessage:
        mail = EmailMessage()
        words = {"firing": "ALERT", "resolved": "Over", "event": "Event", "test": "Test"}[str(message["state"])]
        mail["Subject"] = f"[Axiom Flow] {words}: {message['words']}"[:200].replace("\n", " ").replace("\r", " ")
        mail["From"], mail["To"], mail["Date"] = self.sender, ", ".join(self.to), formatdate()
        mail["Message-ID"] = f"<{message['id']}@axiom-flow.invalid>"
        mail["Auto-Submitted"] = "auto-generated"
        lines = [f"{label}: {message[key]}" if label else str(message[key]) for key, label in FIELDS if message.get(key)]
        lines += [f"{key}: {value}" for key, value in message["details"].items()]
        mail.set_content("\n".join(lines) + "\n")
        return mail
