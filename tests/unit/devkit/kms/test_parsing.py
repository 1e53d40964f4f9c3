import pytest

from devkit.kms import parsing


def parse(data, *more):
    parser = parsing.Parser()
    parser.feed(data)
    for each in more:
        parser.feed(each)
    return parser.next()


def request(*lines, body=b"", first="POST /x HTTP/1.1"):
    return "\r\n".join([first, "Host: h", *lines, "", ""]).encode("latin-1") + body


def test_a_whole_request():
    parsed = parse(request("Content-Length: 3", "X-A:  b ", body=b"abc"))
    assert (parsed.head.method, parsed.head.target, parsed.body) == ("POST", "/x", b"abc")
    assert parsed.head.headers == {"host": "h", "content-length": "3", "x-a": "b"}
    assert parsed.head.keep


def test_byte_by_byte():
    parser = parsing.Parser()
    data = request("Content-Length: 3", body=b"abc")
    for n in range(len(data) - 1):
        parser.feed(data[n : n + 1])
        assert parser.next() is None
    parser.feed(data[-1:])
    assert parser.next().body == b"abc"
    assert parser.next() is None


def test_one_after_the_other():
    parser = parsing.Parser()
    parser.feed(request("Content-Length: 1", body=b"a") + request(first="GET /y HTTP/1.1"))
    first, second = parser.next(), parser.next()
    assert (first.body, second.head.target, second.body) == (b"a", "/y", b"")


def test_repeated_headers_are_joined():
    assert parse(request("A: 1", "a: 2")).head.headers["a"] == "1, 2"


@pytest.mark.parametrize(
    ("first", "lines", "keep"),
    [
        ("GET / HTTP/1.1", [], True),
        ("GET / HTTP/1.1", ["Connection: Close"], False),
        ("GET / HTTP/1.1", ["Connection: x, close"], False),
        ("GET / HTTP/1.0", [], False),
        ("GET / HTTP/1.0", ["Connection: keep-alive"], True),
    ],
)
def test_persistence(first, lines, keep):
    assert parse(request(*lines, first=first)).head.keep is keep


@pytest.mark.parametrize(
    "body",
    [
        b"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n",
        b"5\r\nabcde\r\n0\r\nTrailer: x\r\n\r\n",
    ],
)
def test_chunks(body):
    data = request("Transfer-Encoding: chunked", body=body)
    assert parse(data).body == b"abcde"
    parser = parsing.Parser()
    for n in range(len(data) - 1):
        parser.feed(data[n : n + 1])
        assert parser.next() is None
    parser.feed(data[-1:] + request(first="GET /y HTTP/1.1"))
    assert parser.next().body == b"abcde"
    assert parser.next().head.target == "/y"


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"\r\n\r\n", 400),
        (b"GET /\r\n\r\n", 400),
        (b"GET  / HTTP/1.1\r\nhost: h\r\n\r\n", 400),
        (b"GET / HTTP/2\r\nhost: h\r\n\r\n", 505),
        (b"GET http://h/ HTTP/1.1\r\nhost: h\r\n\r\n", 400),
        (b"GET /\xfc HTTP/1.1\r\nhost: h\r\n\r\n", 400),
        (b"G[T / HTTP/1.1\r\nhost: h\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nhost: h\r\nno colon\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nhost : h\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nhost: h\r\n folded: x\r\n\r\n", 400),
        (request("Content-Length: -1"), 400),
        (request("Content-Length: 1, 1"), 400),
        (request("Content-Length: 1", "Transfer-Encoding: chunked"), 400),
        (request("Transfer-Encoding: gzip"), 501),
        (request("Transfer-Encoding: chunked", body=b"x\r\n"), 400),
        (request("Transfer-Encoding: chunked", body=b"\r\n"), 400),
        (b"GET /" + b"x" * (1 << 16), 431),
        (request(f"X: {'x' * (1 << 16)}"), 431),
    ],
)
def test_what_is_refused(data, status):
    with pytest.raises(parsing.Refused) as caught:
        parse(data)
    assert caught.value.status == status


class TestTooLong:
    def test_with_its_length_told(self):
        body = b"x" * (parsing.BODY_LIMIT_BYTES + 1)
        parsed = parse(request(f"Content-Length: {10**9}", body=body))
        assert parsed.body is None
        assert not parsed.head.keep

    def test_in_chunks(self):
        chunk = b"fffff\r\n" + b"x" * 0xFFFFF + b"\r\n"
        parsed = parse(request("Transfer-Encoding: chunked", body=chunk * 2))
        assert parsed.body is None

    def test_at_the_limit(self):
        body = b"x" * parsing.BODY_LIMIT_BYTES
        assert parse(request(f"Content-Length: {len(body)}", body=body)).body == body


def test_a_client_that_waits_to_be_told_to_go_on():
    parser = parsing.Parser()
    parser.feed(request("Content-Length: 1", "Expect: 100-continue"))
    assert parser.next() is None
    assert parser.waits_for_continue
    parser.feed(b"a")
    assert not parser.waits_for_continue
    assert parser.next().body == b"a"
    assert not parser.waits_for_continue


def test_headers_and_bodies_are_not_in_the_repr(marker):
    parsed = parse(request(f"Authorization: {marker}", "Content-Length: 32", body=marker.encode()))
    assert marker not in repr(parsed)
