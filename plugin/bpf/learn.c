/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* At egress of the same devices: a packet that every filter has let through teaches how packets of its flow leave. */
#include <linux/pkt_cls.h>

#include "packet.h"

/* Outer headers and the inner Ethernet header. */
#define OVERHEAD4 (IPV4 + 8 + 8 + ETHERNET)
#define OVERHEAD6 (IPV6 + 8 + 8 + ETHERNET)
/* Index of the loopback, which the kernel takes for the device behind which this node itself is (`LOOPBACK_IFINDEX`). */
#define LOOPBACK 1

/* From this node's VTEP to an address of the same family. */
INLINE void set_ends(struct bpf_fib_lookup *way, const struct network *network, const __u32 *to)
{
	__u32 i;

	if (network->family == AF_INET) {
		way->ipv4_src = network->vtep[0];
		way->ipv4_dst = to[0];
		return;
	}
	for (i = 0; i < 4; i++) {
		way->ipv6_src[i] = network->vtep[i];
		way->ipv6_dst[i] = to[i];
	}
}

/* Finds out by which uplink encapsulated packets leave to the peer with this MAC, and how large they may be. */
INLINE void find_way(struct __sk_buff *skb, const struct network *network, struct flow *flow, struct end *to)
{
	struct bpf_fib_lookup way = {
		.l4_protocol = IPPROTO_UDP,
		.sport = BE16(network->first_port),
		.dport = BE16(network->port),
		.ifindex = LOOPBACK,
	};
	struct peer_key key = { { to->macs[0], to->macs[1] & 0xffff } };
	__u32 overhead = network->family == AF_INET ? OVERHEAD4 : OVERHEAD6, i;
	struct peer *peer;
	long found;

	flow->uplink = 0;
	if (!network->family)
		return;
	peer = map_lookup(&peers_map, &key);
	if (!peer)
		return;
	for (i = 0; i < 4; i++)
		flow->vtep[i] = peer->vtep[i];
	way.family = network->family;
	set_ends(&way, network, network->vtep);
	/* Under an address that is not this node's any more the stack sends nothing. An own address is none to forward to;
	 * where no route leads to one of others, that looks alike, and flows go on until the overlay is applied again. */
	if (fib_lookup(skb, &way, sizeof(way), 0) != BPF_FIB_LKUP_RET_NOT_FWDED)
		return;
	set_ends(&way, network, peer->vtep);
	way.tot_len = network->mtu + overhead;
	found = fib_lookup(skb, &way, sizeof(way), 0);
	if (found == BPF_FIB_LKUP_RET_FRAG_NEEDED && way.mtu_result > overhead) {
		/* The stack tells the sender how large a packet may be. */
		if (way.mtu_result - overhead < to->mtu)
			to->mtu = way.mtu_result - overhead;
		return;
	}
	/* The neighbour is asked for when a packet leaves. */
	if (found != BPF_FIB_LKUP_RET_SUCCESS && found != BPF_FIB_LKUP_RET_NO_NEIGH)
		return;
	/* A mark may lead elsewhere. */
	if (to->mark)
		return;
	for (i = 0; i < UPLINKS; i++)
		if (network->uplinks[i] == way.ifindex)
			flow->uplink = way.ifindex;
	flow->hop_family = way.family;
	if (way.family == AF_INET) {
		flow->hop[0] = way.ipv4_dst;
	} else {
		for (i = 0; i < 4; i++)
			flow->hop[i] = way.ipv6_dst[i];
	}
}

/* How packets of the flow leave to this end. */
INLINE void learn_to(struct __sk_buff *skb, const struct network *network, struct flow *flow, struct end *to)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	__u32 mtu = 0;

	to->ifindex = skb->ifindex;
	to->mark = skb->mark;
	to->priority = skb->priority;
	if (data + ETHERNET <= end)
		__builtin_memcpy(to->macs, data, 12);
	check_mtu(skb, 0, &mtu, 0, 0);
	to->mtu = mtu;
	if (to->ifindex == network->overlay)
		find_way(skb, network, flow, to);
}

SECTION("tc/learn") int learn(struct __sk_buff *skb)
{
	struct flow flow = {}, *found;
	struct end from = {}, to = {};
	struct packet packet = {};
	struct network *network;
	__u32 now;

	if (!(skb->priority & PASSED))
		return TC_ACT_UNSPEC;
	skb->priority &= ~PASSED;
	network = this_network();
	if (!network || !network->on || !skb->ingress_ifindex)
		return TC_ACT_UNSPEC;
	/* The stack has room for one frame of a connection's end, and for its beginning. */
	if (!parse(skb, &packet) || packet.tcp_flags & (SYN | FIN | RST))
		return TC_ACT_UNSPEC;

	found = map_lookup(&flows_map, &packet.key);
	if (found) {
		flow = *found;
		from = packet.from ? flow.end[1] : flow.end[0];
		to = packet.from ? flow.end[0] : flow.end[1];
		BARRIER();
	}
	if (!found || flow.generation != network->generation || !same_key(&found->key, &packet.key))
		from = to = (struct end){};
	/* The veth of an end has changed: what is known is another pod's. */
	if (from.ifindex != skb->ingress_ifindex || to.ifindex != skb->ifindex) {
		from = to = (struct end){};
		flow.uplink = 0;
	}
	/* What goes the slow way for another reason teaches nothing each time. */
	now = ticks();
	if (from.approved && now - from.approved < network->second / 2)
		return TC_ACT_UNSPEC;
	count(from.approved ? APPROVED : LEARNED);

	flow.key = packet.key;
	flow.generation = network->generation;
	from.ifindex = skb->ingress_ifindex;
	from.approved = now;
	flow.learned = now_coarse() >> 24;
	learn_to(skb, network, &flow, &to);
	if (packet.from) {
		flow.end[1] = from;
		flow.end[0] = to;
	} else {
		flow.end[0] = from;
		flow.end[1] = to;
	}
	/* Not in place: the element may be another flow's by now. Of two packets at once one may be forgotten, and a
	 * later one is asked. */
	map_update(&flows_map, &packet.key, &flow, BPF_ANY);
	return TC_ACT_UNSPEC;
}
