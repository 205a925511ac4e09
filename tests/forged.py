"""Hosts that must never be dialled, in every spelling, and some that may be."""

# As they are written in a URL: what the resolver would take for an address, and what it would not.
FORGED = [
    "127.0.0.1",
    "127.8.9.1",
    "0.0.0.0",  # noqa: S104 - an address to be refused
    "0.1.2.3",
    "10.0.0.1",
    "172.16.0.1",
    "172.31.255.254",
    "192.168.1.1",
    "100.64.0.1",  # carriers' NAT
    "100.127.255.254",
    "169.254.169.254",  # metadata of AWS, Azure, Google
    "169.254.170.2",
    "168.63.129.16",  # Azure's wire server
    "192.0.0.192",  # metadata of Oracle
    "100.100.100.200",  # metadata of Alibaba
    "192.0.2.1",
    "192.88.99.1",
    "198.18.0.1",
    "198.51.100.7",
    "203.0.113.9",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "[::]",
    "[::1]",
    "[0:0:0:0:0:0:0:1]",
    "[0000:0000:0000:0000:0000:0000:0000:0001]",
    "[::ffff:127.0.0.1]",
    "[::FFFF:7F00:1]",
    "[::ffff:10.0.0.1]",
    "[::ffff:169.254.169.254]",
    "[::127.0.0.1]",  # IPv4-compatible
    "[::ffff:0:127.0.0.1]",  # IPv4-translated
    "[64:ff9b::127.0.0.1]",  # NAT64
    "[64:ff9b::a9fe:a9fe]",
    "[64:ff9b:1::a9fe:a9fe]",  # NAT64 for local use
    "[64:ff9b:1::8.8.8.8]",
    "[2002:7f00:1::]",  # 6to4
    "[2002:a9fe:a9fe::1]",
    "[2002:808:808::1]",
    "[2001:0:4136:e378:8000:63bf:f5ff:fffe]",  # Teredo of 10.0.0.1
    "[2001:0:4136:e378:8000:63bf:5601:5601]",  # Teredo of 169.254.169.254
    "[2606:4700::5efe:127.0.0.1]",  # ISATAP
    "[2606:4700::200:5efe:a9fe:a9fe]",
    "[fe80::1]",
    "[fec0::1]",
    "[fc00::1]",
    "[fd00:ec2::254]",  # metadata of AWS
    "[fd20:ce::254]",  # metadata of Google
    "[ff02::1]",
    "[ff0e::1]",
    "[100::1]",
    "[2001:db8::1]",
    "[2001:2::1]",
    "[3fff::1]",
    "[5f00::1]",
    # What resolvers take for IPv4: decimal, octal, hexadecimal, fewer parts, a dot too many.
    "2130706433",
    "0x7f000001",
    "0X7F000001",
    "017700000001",
    "0x7f.0.0.1",
    "127.0x0.0.1",
    "127.0.0.0x1",
    "0177.0.0.1",
    "00000177.0.0.01",
    "127.1",
    "127.0.1",
    "10.1",
    "2852039166",  # 169.254.169.254
    "0xa9fea9fe",
    "0251.0376.0251.0376",
    "0",
    "0x",
    "127.0.0.1.",
    "127.0.0.1..",
    "2130706433.",
    "4294967297",  # one more than 32 bits hold
    # Names that are nobody else's.
    "localhost",
    "LOCALHOST",
    "localhost.",
    "a.localhost",
    # Zones, letters that become digits and dots, signs that end a host for some and not for others.
    "[fe80::1%eth0]",
    "[fe80::1%25eth0]",
    "[::1%1]",
    "[::1%25lo]",
    "[127.0.0.1]",
    "[::ffff:0x7f.1]",
    "[[::1]]",
    "::1",
    "[::1",
    "\uff11\uff12\uff17.0.0.1",
    "127\u30020\u30020\u30021",
    "\u2460\u2461\u2466.0.0.1",
    "\u24c1ocalhost",
    "127.0.0.1\u200b",
    "%31%32%37.0.0.1",
    "127%2e0%2e0%2e1",
    "siem.example@127.0.0.1",
    "user:secret@127.0.0.1",
    "127.0.0.1#@siem.example",
    "siem.example\\@127.0.0.1",
    "127.0.0.1\\.siem.example",
    "siem.example\t@127.0.0.1",
    "127.0.0.1\n.siem.example",
    "127.0.0.1 siem.example",
    "127.0.0.1\0.siem.example",
    "",
    ".",
    "a..b",
    "x" * 64 + ".example",
    "x." * 127 + "example",
]
ALLOWED = [
    "8.8.8.8",
    "1.1.1.1",
    "172.32.0.1",
    "100.128.0.1",
    "192.0.1.1",
    "[2606:4700:4700::1111]",
    "[::ffff:8.8.8.8]",
    "[64:ff9b::8.8.8.8]",
    "[2606:4700::5efe:8.8.8.8]",
    "siem.example",
    "SIEM.example",
    "siem.example.",
    "a_b.siem.example",
    "xn--bcher-kva.example",
    "8.8.8.8.example",
    "1e100.net",
    "localhost.example",
]
