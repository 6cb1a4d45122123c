"""The six ``ipaddress`` classes.

IPv4Address               4 address bytes
IPv6Address              16 address bytes | scope id, UTF-8, empty for none
IPv4Network, -Interface   u8 prefix length |  4 address bytes
IPv6Network, -Interface   u8 prefix length | 16 address bytes | scope id
"""

from __future__ import annotations

from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
)


def render_address4(address: IPv4Address) -> bytes:
    return address.packed


def parse_address4(data: bytes) -> IPv4Address:
    return IPv4Address(data)


def render_address6(address: IPv6Address) -> bytes:
    return address.packed + (address.scope_id or "").encode("utf-8", "surrogatepass")


def parse_address6(data: bytes) -> IPv6Address:
    address, scope = IPv6Address(data[:16]), data[16:].decode("utf-8", "surrogatepass")
    return IPv6Address(f"{address}%{scope}") if scope else address


def render_network4(network: IPv4Network) -> bytes:
    return bytes([network.prefixlen]) + network.network_address.packed


def parse_network4(data: bytes) -> IPv4Network:
    return IPv4Network((data[1:], data[0]))


def render_interface4(interface: IPv4Interface) -> bytes:
    return bytes([interface.network.prefixlen]) + interface.packed


def parse_interface4(data: bytes) -> IPv4Interface:
    return IPv4Interface((data[1:], data[0]))


def render_network6(network: IPv6Network) -> bytes:
    return bytes([network.prefixlen]) + render_address6(network.network_address)


def parse_network6(data: bytes) -> IPv6Network:
    return IPv6Network((str(parse_address6(data[1:])), data[0]))


def render_interface6(interface: IPv6Interface) -> bytes:
    return bytes([interface.network.prefixlen]) + render_address6(interface)


def parse_interface6(data: bytes) -> IPv6Interface:
    return IPv6Interface((str(parse_address6(data[1:])), data[0]))
