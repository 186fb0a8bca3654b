"""Why no certificate was given. The message is for the one who asked, save for `Unauthenticated`: it is for the log."""


class CertificateError(Exception):
    """Base of every refusal."""


class RefusedRequest(CertificateError):
    """The request itself is not acceptable: malformed, weak, or asking for what its sender may not have."""


class LifetimeTooLong(RefusedRequest):
    """More was asked for than the authority gives."""


class RateExceeded(CertificateError):
    """This peer asks too often."""


class Unauthenticated(CertificateError):
    """The sender has not proven who it is. Why not is for the log, never for the sender."""


class ProofUnavailable(CertificateError):
    """Whoever could tell who the sender is cannot be asked now."""


class AuditUnavailable(CertificateError):
    """The record could not be written, so there is no certificate."""


class SignerExpired(CertificateError):
    """The root's own time is up."""


class BrokenAuthority(Exception):
    """The authority's files cannot be used as they are; the message is one line and says what to do."""
