/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* At ingress of an uplink: an encapsulated packet of a flow that was learned is unwrapped and goes into the pod. Everything
 * else, whosever it is, goes on unchanged, as if this program were not there. It counts nothing of that: what the overlay's
 * device unwraps, `hit` counts.
 *
 * It writes to no packet but by helpers, behind the last question: for a program that writes by pointers the kernel copies
 * each packet that somebody else has as well (tcpdump), and drops what it has no memory for. */
#include <linux/pkt_cls.h>

#include "vxlan.h"

/* Linux 6.3; the headers that this is built with may be older. The kernel's own numbers. */
#define DECAP_L3_IPV4 (1ULL << 7)
#define DECAP_L3_IPV6 (1ULL << 8)

/* What is outside of the pod's packet. */
struct outside {
	/* The VTEP that it says it comes from. */
	__u32 sender[4];
	/* Destination and source of the inner Ethernet header. */
	__u16 macs[6];
	/* What was noted on the way about congestion. */
	__u8 ecn;
};

/* UDP to the overlay's port around a frame of this network, nothing in front of it and nothing behind. The checksum of the outer
 * UDP is not looked at (RFC 7348, section 4.1: one MAY): nothing counts here that the inner packet's does not cover, but what
 * is compared, all of it, with what it has to be. Only IPv6 takes none without. Pods' packets for nodes have source ports below
 * those of the network. */
INLINE int is_vxlan(const struct network *network, const struct vxlan *vxlan, __u16 length, struct outside *outside)
{
	__builtin_memcpy(outside->macs, vxlan->macs, sizeof(outside->macs));
	return vxlan->udp.length == length && BE16(vxlan->udp.source) >= network->first_port && vxlan->flags == VXLAN_FLAGS &&
	       vxlan->vni == BE32(network->vni << 8);
}

INLINE enum parsed unwrap4(struct __sk_buff *skb, const struct network *network, struct packet *packet,
			   struct outside *outside)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct outer4 *outer = data + ETHERNET;
	const __u16 *words = data + ETHERNET;
	__u32 sum = 0, i;

	if ((void *)(outer + 1) > end)
		return SHORT;
	if (outer->vxlan.udp.destination != BE16(network->port) || outer->ip.protocol != IPPROTO_UDP ||
	    outer->ip.destination != network->vtep[0])
		return NOT_OURS;
	if (outer->ip.ttl <= HOPS_OF_USERS)
		return NOT_OURS;
	/* No options, no fragments, nothing behind the end. */
	if (outer->ip.version_length != 0x45 || outer->ip.fragment & BE16(0x3fff) ||
	    BE16(outer->ip.length) + ETHERNET != skb->len)
		return NOT_OURS;
	for (i = 0; i < IPV4 / 2; i++)
		sum += words[i];
	if (folded(sum) != 0xffff)
		return NOT_OURS;
	if (!is_vxlan(network, &outer->vxlan, BE16(BE16(outer->ip.length) - IPV4), outside))
		return NOT_OURS;
	outside->sender[0] = outer->ip.source;
	outside->sender[1] = outside->sender[2] = outside->sender[3] = 0;
	outside->ecn = outer->ip.tos & 3;
	return parse_once(skb, packet, ETHERNET + sizeof(*outer), outer->vxlan.protocol);
}

INLINE enum parsed unwrap6(struct __sk_buff *skb, const struct network *network, struct packet *packet,
			   struct outside *outside)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct outer6 *outer = data + ETHERNET;

	if ((void *)(outer + 1) > end)
		return SHORT;
	if (outer->vxlan.udp.destination != BE16(network->port) || outer->ip.next != IPPROTO_UDP ||
	    outer->ip.destination[0] != network->vtep[0] || outer->ip.destination[1] != network->vtep[1] ||
	    outer->ip.destination[2] != network->vtep[2] || outer->ip.destination[3] != network->vtep[3])
		return NOT_OURS;
	if (outer->ip.hops <= HOPS_OF_USERS)
		return NOT_OURS;
	if ((outer->ip.class_label & 0xf0) != 0x60 || BE16(outer->ip.payload) + IPV6 + ETHERNET != skb->len)
		return NOT_OURS;
	if (!is_vxlan(network, &outer->vxlan, outer->ip.payload, outside) || !outer->vxlan.udp.checksum)
		return NOT_OURS;
	__builtin_memcpy(outside->sender, outer->ip.source, sizeof(outside->sender));
	outside->ecn = BE32(outer->ip.class_label) >> 20 & 3;
	return parse_once(skb, packet, ETHERNET + sizeof(*outer), outer->vxlan.protocol);
}

INLINE enum parsed unwrap_once(struct __sk_buff *skb, const struct network *network, struct packet *packet,
			       struct outside *outside)
{
	return network->family == AF_INET ? unwrap4(skb, network, packet, outside) :
					    unwrap6(skb, network, packet, outside);
}

/* Whether it is a packet of this network for this node; `packet` is what the inner one says then. */
INLINE int unwrap(struct __sk_buff *skb, const struct network *network, struct packet *packet, struct outside *outside,
		  __u32 size)
{
	__u32 before = ETHERNET + size, most = before + IPV6 + 20;
	enum parsed parsed;

	/* The least that a pod sends: most packets that are none. */
	if (skb->len < before + IPV4 + UDP)
		return 0;
	parsed = unwrap_once(skb, network, packet, outside);
	if (UNLIKELY(parsed == SHORT)) {
		__u32 port_at = before - sizeof(struct vxlan) + sizeof(__u16);
		__u16 port;

		/* The headers are in fragments of the buffer. What is not ours stays as it is. */
		if (load_bytes(skb, port_at, &port, sizeof(port)) || port != BE16(network->port) ||
		    pull_data(skb, skb->len < most ? skb->len : most))
			return 0;
		parsed = unwrap_once(skb, network, packet, outside);
	}
	return parsed == PARSED;
}

/* Whether the frame goes from the peer behind this end to this node's overlay device. */
INLINE int goes_between(const struct outside *outside, const struct end *peer)
{
	const __u16 *known = (const void *)peer->macs, *macs = outside->macs;

	return macs[0] == known[3] && macs[1] == known[4] && macs[2] == known[5] && macs[3] == known[0] &&
	       macs[4] == known[1] && macs[5] == known[2];
}

/* The outer headers go; TTL or hop limit is counted down, and Ethernet addresses are put in front. 0 where nothing could be
 * done, and nothing was; else 1, or less where the packet is spoilt. */
INLINE int take_off(struct __sk_buff *skb, const struct network *network, const struct packet *packet, __u32 size,
		    const __u32 *macs)
{
	__u64 flags = BPF_F_ADJ_ROOM_NO_CSUM_RESET;
	/* So that the IP header is at a multiple of four. */
	struct {
		__u16 unused;
		__u8 macs[12];
		__u16 protocol;
		union {
			struct ipv4 v4;
			struct ipv6 v6;
		} ip;
	} front __attribute__((aligned(8)));
	void *data, *end;

	if (packet->network == IPV4 && network->family != AF_INET)
		flags |= DECAP_L3_IPV4;
	if (packet->network == IPV6 && network->family == AF_INET)
		flags |= DECAP_L3_IPV6;
	if (adjust_room(skb, -(__s32)size, BPF_ADJ_ROOM_MAC, flags))
		return 0;
	/* What the device has verified was the outer checksum first. */
	csum_level(skb, BPF_CSUM_LEVEL_DEC);

	__builtin_memcpy(front.macs, macs, sizeof(front.macs));
	front.protocol = packet->protocol;
	data = (void *)(long)skb->data;
	end = (void *)(long)skb->data_end;
	if (packet->network == IPV4) {
		__u32 sum;

		if (data + ETHERNET + IPV4 > end)
			return -1;
		__builtin_memcpy(&front.ip.v4, data + ETHERNET, IPV4);
		/* RFC 1624 */
		sum = front.ip.v4.checksum + BE16(0x0100);
		front.ip.v4.checksum = sum + (sum >= 0xffff);
		front.ip.v4.ttl--;
		return store_bytes(skb, 0, front.macs, ETHERNET + IPV4, 0) ? -1 : 1;
	}
	if (data + ETHERNET + IPV6 > end)
		return -1;
	__builtin_memcpy(&front.ip.v6, data + ETHERNET, IPV6);
	front.ip.v6.hops--;
	/* A checksum of the whole packet that the device has made: the word of the hop limit is less by one. */
	csum_update(skb, ~(__u32)BE16(1));
	return store_bytes(skb, 0, front.macs, ETHERNET + IPV6, 0) ? -1 : 1;
}

SECTION("tc/receive") int receive(struct __sk_buff *skb)
{
	struct network *network;
	struct packet packet = {};
	struct outside outside;
	struct flow *found, flow;
	struct end from, to;
	__u32 now, age, size;
	int done;

	network = this_network();
	if (!network || !network->on)
		return TC_ACT_UNSPEC;
	if (skb->protocol != (network->family == AF_INET ? BE16(ETH_P_IP) : BE16(ETH_P_IPV6)))
		return TC_ACT_UNSPEC;
	if (skb->pkt_type != PACKET_HOST || skb->vlan_present)
		return TC_ACT_UNSPEC;
	size = network->family == AF_INET ? sizeof(struct outer4) : sizeof(struct outer6);
	if (!unwrap(skb, network, &packet, &outside, size))
		return TC_ACT_UNSPEC;
	if (packet.tcp_flags & (SYN | FIN | RST))
		return TC_ACT_UNSPEC;
	found = map_lookup(&flows_map, &packet.key);
	if (!found)
		return TC_ACT_UNSPEC;

	/* As in `hit`: the flow's if the key still is when all else has been read. */
	flow = *found;
	from = *end_of(found, packet.from);
	to = *end_of(found, !packet.from);
	BARRIER();
	if (!same_key(&found->key, &packet.key) || flow.generation != network->generation)
		return TC_ACT_UNSPEC;
	/* From another node to a pod here; by the device, from the VTEP and with the MACs by which packets leave to that end. */
	if (from.ifindex != network->overlay || to.ifindex == network->overlay || flow.uplink != skb->ifindex)
		return TC_ACT_UNSPEC;
	if (outside.sender[0] != flow.vtep[0] || outside.sender[1] != flow.vtep[1] ||
	    outside.sender[2] != flow.vtep[2] || outside.sender[3] != flow.vtep[3] || !goes_between(&outside, &from))
		return TC_ACT_UNSPEC;
	/* Of one that is to be approved again `hit` takes note when it gets so far. */
	now = ticks();
	age = now - from.approved;
	if (!from.approved || age >= 2 * network->second)
		return TC_ACT_UNSPEC;
	if (age >= network->second && now - from.asked >= network->second)
		return TC_ACT_UNSPEC;

	/* What was put together is for the overlay's device, which knows how to take it apart, and so are others of the same flow
	 * for a moment: those would overtake. */
	if (skb->gso_size) {
		if (flow.together != now)
			found->together = now;
		return TC_ACT_UNSPEC;
	}
	if (flow.together && now - flow.together <= network->second / 16)
		return TC_ACT_UNSPEC;
	/* The outer checksum is all that protects it. */
	if (packet.unchecked)
		return TC_ACT_UNSPEC;
	/* Congestion that cannot be told inside. */
	if (outside.ecn && !(packet.tos & 3))
		return TC_ACT_UNSPEC;
	if (packet.ttl <= 1 || skb->len - ETHERNET - size > to.mtu)
		return TC_ACT_UNSPEC;

	done = take_off(skb, network, &packet, size, to.macs);
	if (done <= 0) {
		if (done < 0)
			count(FAILED);
		return done < 0 ? TC_ACT_SHOT : TC_ACT_UNSPEC;
	}
	if (outside.ecn == 3)
		set_congested(skb);
	/* As the kernel leaves what it has unwrapped. */
	skb->mark = 0;
	skb->priority = 0;
	/* Not with its neighbour by one instruction, which the verifier does not take. */
	*(volatile __u32 *)&skb->queue_mapping = 0;
	count(FROM_UPLINK);
	return redirect_peer(to.ifindex, 0);
}
