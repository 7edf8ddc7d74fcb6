/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* What the programs of one network share, among themselves and with the plugin: plugin/src/kernel/fast_path has the
 * same layouts. */
#pragma once

#include "helpers.h"

/* A map as the plugin makes it, read from the object by plugin/build.rs. */
struct map {
	__u32 type;
	__u32 key_size;
	__u32 value_size;
	__u32 max_entries;
	__u32 flags;
};

/* Uplinks by which encapsulated packets may leave. */
#define UPLINKS 8

/* What the plugin says of the network. */
struct network {
	/* 0: every packet goes the slow way. */
	__u32 on;
	/* What was learned under another one is void. */
	__u32 generation;
	/* Index of the VXLAN device. */
	__u32 overlay;
	/* What packets from the overlay bear as their priority if their outer packet was judged. */
	__u32 judged;
	__u32 vni;
	/* The overlay's UDP port, and where source ports begin and end. */
	__u16 port;
	__u16 first_port;
	__u16 last_port;
	/* AF_INET, AF_INET6; 0: no packet is encapsulated here. */
	__u16 family;
	/* MTU of the overlay. */
	__u32 mtu;
	/* This node's VTEP; an IPv4 address is the first word. */
	__u32 vtep[4];
	/* Indices of the Ethernet devices by which encapsulated packets may leave; 0 is none. */
	__u32 uplinks[UPLINKS];
	/* A second in ticks, rounded down. */
	__u32 second;
};

/* A flow, the same in both directions: the end whose address and port are less comes first. */
struct flow_key {
	/* IPv4 addresses as ::ffff:a.b.c.d, all as in the packet. */
	__u32 address[2][4];
	__u16 port[2];
	__u8 protocol;
	/* Bytes of the IP header, and so its version: IPv6 can bear addresses that look like those above. */
	__u8 network;
	__u8 zero[2];
} __attribute__((aligned(8)));

/* One end of a flow. */
struct end {
	/* The device behind which it is: a pod's veth, or the overlay's. */
	__u32 ifindex;
	/* When a packet that it sent was last let through by every filter, in ticks; 0: never. */
	__u32 approved;
	/* When one of its packets was last sent the slow way to be approved. */
	__u32 asked;
	/* How packets to it leave: the largest, without the Ethernet header, and what they bear. */
	__u32 mtu;
	__u32 mark;
	__u32 priority;
	/* Destination and source of the Ethernet header. */
	__u32 macs[3];
};

struct flow {
	/* Its own key, against an element that is reused under its reader. The first member: it is written first. */
	struct flow_key key;
	__u32 generation;
	/* By which device encapsulated packets leave to the end that is on another node; 0: by the overlay's. */
	__u32 uplink;
	/* The VTEP there, and the next hop to it, of this family. */
	__u32 vtep[4];
	__u32 hop[4];
	__u32 hop_family;
	struct end end[2];
	/* When packets of it that were put together into large ones last came to an uplink, in ticks. */
	__u32 together;
	/* When a packet of either end was last let through by every filter, in 2^24 nanoseconds: for who asks from outside. */
	__u32 learned;
};

/* The end that comes second, or the first. The verifier wants to see that there is no third. */
INLINE struct end *end_of(struct flow *flow, __u32 second)
{
	asm volatile("%0 &= 1" : "+r"(second));
	return &flow->end[second];
}

/* The key of a peer: the MAC of its VTEP, and two bytes 0. */
struct peer_key {
	__u32 mac[2];
};

struct peer {
	__u32 vtep[4];
};

/* Why a packet went which way. Shown by name; the plugin has the same order. */
enum count {
	/* Fast: into a pod, to the overlay's device, encapsulated at once. */
	TO_POD,
	TO_OVERLAY,
	TO_UPLINK,
	/* Flows learned, and learned again. */
	LEARNED,
	APPROVED,
	/* Slow: not learned, or void; void for an old approval; to be approved again. */
	UNKNOWN,
	STALE,
	ASKED,
	/* From another device than the flow's end is behind. */
	ASTRAY,
	/* Beginning or end of a TCP connection. */
	HANDSHAKE,
	/* Of another protocol, a fragment, or with options. */
	OTHER,
	TOO_LARGE,
	EXPIRES,
	/* Cut short while it was encapsulated or unwrapped; dropped. */
	FAILED,
	/* Fast: from the uplink into a pod. */
	FROM_UPLINK,
	COUNTS,
};

#define MAP(name) SECTION("maps") struct map name

MAP(network_map) = { BPF_MAP_TYPE_ARRAY, sizeof(__u32), sizeof(struct network), 1, 0 };
MAP(flows_map) = { BPF_MAP_TYPE_LRU_HASH, sizeof(struct flow_key), sizeof(struct flow), 65536, 0 };
MAP(peers_map) = {
	BPF_MAP_TYPE_HASH, sizeof(struct peer_key), sizeof(struct peer), 65536, BPF_F_NO_PREALLOC,
};
MAP(counts_map) = { BPF_MAP_TYPE_PERCPU_ARRAY, sizeof(__u32), sizeof(__u64), COUNTS, 0 };

/* How many packets of a kind this CPU has had. */
INLINE __u64 *counted(__u32 what)
{
	return map_lookup(&counts_map, &what);
}

INLINE void count(__u32 what)
{
	__u64 *so_far = counted(what);

	if (so_far)
		++*so_far;
}

INLINE struct network *this_network(void)
{
	__u32 first = 0;

	return map_lookup(&network_map, &first);
}

/* The bit of a packet's priority that the rule of ours in the forward hook sets: every filter has let it through.
 * Not a mark, which policy routing and other programs' rules heed. */
#define PASSED 0x80000000

/* Four of the kernel's: 32 bits of them are half a year, or more. What an end is approved for ends two seconds later, behind
 * one second a packet asks again, and behind half a second is learned from again. */
INLINE __u32 ticks(void)
{
	__u32 now = jiffies() >> 2;

	return now ? now : 1;
}
