"""pkilint finds nothing in our certificates but what it says of every SPIFFE identity, and of `localhost`."""

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from pkilint import loader
from pkilint.pkix import certificate as pkix
from pkilint.pkix import extension, name
from pkilint.validation import ValidationFindingDescription, ValidationFindingSeverity

from control.ca.authority import Applicant, Authority
from mesh.spiffe import SpiffeId
from tests.control.ca.requests import csr

SPIFFE_FINDING = ("pkix.invalid_uri_syntax", 'Invalid URI syntax: "spiffe://')
"""It knows a list of URI schemes, and `spiffe` is none of them."""

LOCALHOST_FINDING = ("pkix.invalid_domain_name_syntax", 'Invalid domain name syntax: "localhost"')
"""It wants at least two labels; the control plane on a laptop is dialled as `localhost` (RFC 6761 6.3)."""


def findings(certificate: x509.Certificate) -> list[str]:
    validator = pkix.create_pkix_certificate_validator_container(
        pkix.create_decoding_validators(name.ATTRIBUTE_TYPE_MAPPINGS, extension.EXTENSION_MAPPINGS),
        [
            pkix.create_issuer_validator_container([]),
            pkix.create_validity_validator_container(),
            pkix.create_subject_validator_container([]),
            pkix.create_extensions_validator_container([]),
            pkix.create_spki_validator_container([]),
        ],
    )
    document = loader.load_certificate(certificate.public_bytes(Encoding.DER), "certificate")
    return [
        f"{description.finding.severity.name} {description.finding.code}: {description.message or ''}"
        for result in validator.validate(document.root)
        for description in result.finding_descriptions
        if description.finding.severity <= ValidationFindingSeverity.NOTICE and not _is_expected(description)
    ]


def _is_expected(description: ValidationFindingDescription) -> bool:
    return any(
        description.finding.code == code and (description.message or "").startswith(start)
        for code, start in (SPIFFE_FINDING, LOCALHOST_FINDING)
    )


def test_the_root_is_clean(authority: Authority) -> None:
    assert findings(authority.roots.signer.certificate) == []


@pytest.mark.parametrize(
    "identity",
    [
        SpiffeId("cluster.local", "default", "bookinfo-reviews"),
        SpiffeId("cluster.local", "remora-system", "remora-control"),
    ],
    ids=str,
)
async def test_a_leaf_is_clean(authority: Authority, identity: SpiffeId) -> None:
    chain = await authority.issue(Applicant(identity, "token", "ipv4:127.0.0.1:1"), csr(), 0)
    assert findings(x509.load_pem_x509_certificate(chain[0].encode())) == []
