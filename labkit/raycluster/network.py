"""By which address a node is reached from the others, and over which interface."""

import ipaddress
import socket

import psutil

from labkit.errors import LabkitError


def own_address(interface: str = "") -> str:
    """This node's IPv4 address on the interface; where none is named, that of its host name.

    Raises LabkitError naming the interfaces there are.
    """
    if interface:
        return _address_on(interface)
    try:
        found = socket.gethostbyname(socket.gethostname())
        if not ipaddress.ip_address(found).is_loopback:
            return found
    except OSError:
        pass  # no name service; the routes know as well
    for name, addresses in _addresses().items():
        for address in addresses:
            if not ipaddress.ip_address(address).is_loopback and _is_up(name):
                return address
    raise LabkitError("This node has no address that others could reach.")


def all_addresses() -> list[str]:
    """Every IPv4 address of this node, loopback's too."""
    return sorted({address for found in _addresses().values() for address in found})


def address_towards(address: str) -> str:
    """This node's address as the one at `address` ('host:port') sees it."""
    host, _, port = address.rpartition(":")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:  # nothing is sent
        asking.connect((host, int(port)))
        return asking.getsockname()[0]


def interface_of(address: str) -> str:
    """The interface that has the address; '' where none has."""
    return next((name for name, found in _addresses().items() if address in found), "")


def answers(address: str) -> bool:
    """Whether something listens at 'host:port'."""
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host, int(port)), timeout=2):
            return True
    except OSError:
        return False


def _address_on(interface: str) -> str:
    addresses = _addresses()
    if found := addresses.get(interface):
        return found[0]
    known = ", ".join(name for name, found in addresses.items() if found)
    raise LabkitError(
        f"No network interface {interface!r} with an IPv4 address on {socket.gethostname()}. "
        f"There: {known}. Set the key 'network' in labkit.toml."
    )


def _addresses() -> dict[str, list[str]]:
    return {
        name: [a.address for a in found if a.family is socket.AF_INET]
        for name, found in psutil.net_if_addrs().items()
    }


def _is_up(interface: str) -> bool:
    return psutil.net_if_stats()[interface].isup
