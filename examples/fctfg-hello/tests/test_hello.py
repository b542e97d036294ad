"""The same checks the bundled plugins pass."""

from fctfg.testing import DecoderContract


class TestHelloDecoder(DecoderContract):
    plugin = "fctfg-hello:hello"
