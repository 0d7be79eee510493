"""OpenStack Swift in one process: proxy, account, container and object server, one device, one replica, logins by tempauth.

    serve.py FOLDER [SETTING=VALUE...]

Everything is kept in FOLDER. Every server listens on a port of the loopback that the kernel chose; the proxy's is printed when it answers.
A setting of the middleware tempauth may follow: token_life=5
"""
import os
import sys

import eventlet

eventlet.monkey_patch()

import eventlet.wsgi  # noqa: E402
from swift.common import utils  # noqa: E402
from swift.common.ring import RingBuilder  # noqa: E402
from swift.common.wsgi import loadapp  # noqa: E402

FOLDER = os.path.abspath(sys.argv[1])
SETTINGS = "\n".join(sys.argv[2:])
FILTERS = (
    "catch_errors gatekeeper healthcheck cache listing_formats bulk tempurl tempauth copy slo dlo versioned_writes symlink"
)
KINDS = ("account", "container", "object")


class Memory(object):
    """What the servers keep in memcached otherwise: tokens, and what is known of accounts and containers."""

    def __init__(self):
        self.kept = {}

    def get(self, key, **_):
        value, until = self.kept.get(key, (None, 0))
        return value if not until or until > utils.time.time() else None

    def set(self, key, value, time=0, **_):
        self.kept[key] = (value, utils.time.time() + time if time else 0)
        return True

    def incr(self, key, delta=1, time=0, **_):
        value = int(self.get(key) or 0) + delta
        self.set(key, value, time=time)
        return value

    def delete(self, key, **_):
        self.kept.pop(key, None)


def memory_filter(_conf, **_local):
    memory = Memory()

    def wrap(app):
        def answer(env, start_response):
            env["swift.cache"] = memory
            return app(env, start_response)

        return answer

    return wrap


def write(name, text):
    path = os.path.join(FOLDER, name)
    with open(path, "w") as file:
        file.write(text)
    return path


def make_ring(kind, port):
    builder = RingBuilder(part_power=4, replicas=1, min_part_hours=1)
    device = {"region": 1, "zone": 1, "ip": "127.0.0.1", "port": port, "device": "d1", "weight": 1}
    builder.add_dev(dict(device, replication_ip="127.0.0.1", replication_port=port, meta=""))
    builder.rebalance()
    builder.get_ring().save(os.path.join(FOLDER, kind + ".ring.gz"))


def config_of(kind):
    return write(
        kind + "-server.conf",
        """[DEFAULT]
swift_dir = %(folder)s
devices = %(folder)s/node
mount_check = false
disable_fallocate = true
log_address = /dev/null
[pipeline:main]
pipeline = %(kind)s-server
[app:%(kind)s-server]
use = egg:swift#%(kind)s
"""
        % {"folder": FOLDER, "kind": kind},
    )


def proxy_config():
    own = {
        # A test makes objects that are old.
        "gatekeeper": "use = egg:swift#gatekeeper\nshunt_inbound_x_timestamp = false\n",
        "cache": "paste.filter_factory = __main__:memory_filter\n",
        "tempauth": "use = egg:swift#tempauth\nuser_test_tester = testing .admin\n" + SETTINGS,
    }
    filters = ["[filter:%s]\n%s\n" % (name, own.get(name, "use = egg:swift#" + name)) for name in FILTERS.split()]
    return write(
        "proxy-server.conf",
        """[DEFAULT]
swift_dir = %s
log_address = /dev/null
[pipeline:main]
pipeline = %s proxy-server
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
allow_account_management = true
%s
"""
        % (FOLDER, FILTERS, "".join(filters)),
    )


def main():
    os.makedirs(os.path.join(FOLDER, "node", "d1"), exist_ok=True)
    write("swift.conf", "[swift-hash]\nswift_hash_path_suffix = tests\n[storage-policy:0]\nname = gold\ndefault = yes\n")
    utils.set_swift_dir(FOLDER)
    # A listening socket without SO_REUSEPORT: no other process can listen on its port.
    sockets = {kind: eventlet.listen(("127.0.0.1", 0), reuse_port=False) for kind in KINDS + ("proxy",)}
    for kind in KINDS:
        make_ring(kind, sockets[kind].getsockname()[1])
    paths = dict({kind: config_of(kind) for kind in KINDS}, proxy=proxy_config())
    logger = utils.get_logger({"log_address": "/dev/null"}, "tests")
    for kind in KINDS + ("proxy",):
        app = loadapp(paths[kind])
        eventlet.spawn(eventlet.wsgi.server, sockets[kind], app, utils.NullLogger(), keepalive=True, debug=False)
    print("ready on %d" % sockets["proxy"].getsockname()[1], flush=True)
    while True:
        eventlet.sleep(3600)


main()
