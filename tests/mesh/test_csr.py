"""Istio's certificate messages: the bytes are upstream's."""

import pytest

from mesh.csr import CertificateRequest, CertificateResponse, MalformedCertificateMessage


def test_a_request_has_the_field_numbers_of_istio() -> None:
    data = CertificateRequest(csr="PEM", validity_s=300).to_bytes()
    assert data == b"\x0a\x03PEM" + b"\x18\xac\x02"


def test_a_response_has_the_field_numbers_of_istio() -> None:
    assert CertificateResponse(("leaf", "root")).to_bytes() == b"\x0a\x04leaf\x0a\x04root"


@pytest.mark.parametrize(
    "request_",
    [
        pytest.param(CertificateRequest("PEM"), id="only a CSR"),
        pytest.param(CertificateRequest("PEM", 60, {"ClusterID": "Kubernetes"}), id="lifetime and metadata"),
    ],
)
def test_a_request_survives_the_wire(request_: CertificateRequest) -> None:
    assert CertificateRequest.from_bytes(request_.to_bytes()) == request_


def test_a_response_survives_the_wire() -> None:
    response = CertificateResponse(("leaf", "intermediate", "root"))
    assert CertificateResponse.from_bytes(response.to_bytes()) == response


def test_the_removed_subject_id_of_an_old_agent_is_passed_over() -> None:
    assert CertificateRequest.from_bytes(b"\x0a\x03PEM\x12\x03foo") == CertificateRequest("PEM")


@pytest.mark.parametrize(
    "data", [b"\xff", b"\x0a\x7fshort", b"\x0a\x02\xff\xfe"], ids=["no tag", "cut off", "no UTF-8"]
)
def test_bytes_that_are_no_message_are_refused(data: bytes) -> None:
    with pytest.raises(MalformedCertificateMessage):
        CertificateRequest.from_bytes(data)
