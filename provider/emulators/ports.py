"""Ports on loopback: one that something else listens on is an error that can be read."""

from __future__ import annotations

import socket

from provider.exceptions import ConfigurationError


class PortTakenError(ConfigurationError):
    """
    Something else listens on a port.

    :param port: the port that was asked for.
    """

    def __init__(self, host: str, port: int) -> None:
        super().__init__(f"Port {port} of {host} is taken. Choose another, or 0 for a free one.")
        self.host = host
        self.port = port


def bound_socket(host: str, port: int) -> socket.socket:
    """
    Return a socket that holds a port; the caller closes it.

    :param port: 0 takes a free one.
    :raises PortTakenError: the port is taken.
    """
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
    except OSError as error:
        bound.close()
        raise PortTakenError(host, port) from error
    return bound
