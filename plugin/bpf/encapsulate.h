/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* VXLAN (RFC 7348) in front of a packet, byte for byte what the overlay's device would put there. */
#pragma once

#include "vxlan.h"

#define HOPS 64

/* Not one of the kernel's verdicts: there was no room in front of the packet, or it was of a tunnel before it came to the
 * pod that has sent it on. */
#define UNCHANGED (-2)

/* The traffic class of an outer header: what the inner one says of congestion (RFC 6040), no more. */
INLINE __u8 outer_tos(__u8 inner)
{
	__u8 ecn = inner & 3;

	return ecn == 3 ? 2 : ecn;
}

/* As `udp_flow_src_port` in the kernel, so that a flow's packets take one path, the slow ones too. */
INLINE __u16 source_port(const struct network *network, __u32 hash)
{
	__u32 range = network->last_port - network->first_port;

	hash ^= hash << 16;
	return (((__u64)hash * range) >> 32) + network->first_port;
}

INLINE void fill_vxlan(struct vxlan *vxlan, const struct network *network, const struct packet *packet,
		       const __u32 *macs, __u16 port, __u16 length)
{
	vxlan->udp.source = BE16(port);
	vxlan->udp.destination = BE16(network->port);
	vxlan->udp.length = BE16(length);
	vxlan->udp.checksum = 0;
	vxlan->flags = VXLAN_FLAGS;
	vxlan->vni = BE32(network->vni << 8);
	COPY(vxlan->macs, macs, sizeof(vxlan->macs));
	vxlan->protocol = packet->protocol;
}

/* The checksum of the outer UDP; `sum` is that of the outer addresses. That of the inner packet is known without a look
 * at its payload: header and payload of TCP or UDP with the right checksum sum up to the complement of the pseudo header,
 * and whoever fills in that checksum later makes it right. An IPv4 header sums up to 0. */
INLINE __u16 outer_checksum(__u64 sum, const struct vxlan *vxlan, const struct packet *packet)
{
	const __u16 *bytes = (const void *)vxlan;
	const struct flow_key *key = &packet->key;
	__u16 pseudo, checksum;
	int i;

	sum += vxlan->udp.length + BE16(IPPROTO_UDP);
	for (i = 0; i < (int)sizeof(struct vxlan) / 2; i++)
		sum += bytes[i];
	/* The pseudo header of the inner packet. Its addresses are in an IPv6 header, too, and cancel out. */
	if (packet->network == IPV4) {
		__u16 payload = BE16(vxlan->udp.length) - UDP - VXLAN - ETHERNET - IPV4;

		pseudo = folded((__u64)key->address[0][3] + key->address[1][3] + BE16(payload) + BE16(key->protocol));
		sum += (__u16)~pseudo;
	} else {
		/* Of the header all but the addresses and the length, and of the pseudo header the protocol. */
		sum += packet->class_label;
		sum += BE16(key->protocol << 8 | (packet->ttl - 1));
		sum += (__u16)~BE16(key->protocol);
	}
	checksum = ~folded(sum);
	return checksum ? checksum : 0xffff;
}

/* Whether the packet can be encapsulated here. What is to be cut into segments is the overlay device's work: each needs a
 * checksum of its own. What has no checksum inside would have to be read for one outside. */
INLINE int is_simple(const struct __sk_buff *skb, const struct packet *packet)
{
	return !skb->gso_size && !packet->unchecked;
}

/* Makes room behind the Ethernet header, and puts the outer headers there: 0, or why not. */
INLINE int put_in_front(struct __sk_buff *skb, const void *outer, __u32 size, __u64 family, __u16 protocol)
{
	__u64 flags = family | BPF_F_ADJ_ROOM_ENCAP_L4_UDP | BPF_F_ADJ_ROOM_ENCAP_L2(ETHERNET) |
		      BPF_F_ADJ_ROOM_ENCAP_L2_ETH;
	struct ethhdr *ethernet;
	void *data, *end;

	if (adjust_room(skb, size, BPF_ADJ_ROOM_MAC, flags))
		return UNCHANGED;
	data = (void *)(long)skb->data;
	end = (void *)(long)skb->data_end;
	ethernet = data;
	if (data + ETHERNET + size > end)
		return TC_ACT_SHOT;
	/* The addresses are put in when the next hop is known. */
	ethernet->h_proto = protocol;
	COPY(data + ETHERNET, outer, size);
	return 0;
}

/* Sends the packet to the other node by the uplink; its TTL is counted down already. `macs` are those of the inner
 * Ethernet header. The kernel's verdict, or UNCHANGED. */
INLINE long encapsulate(struct __sk_buff *skb, const struct network *network, const struct packet *packet,
			const struct flow *flow, const __u32 *macs)
{
	__u32 hash = flow_hash(skb);
	__u16 port = source_port(network, hash), length = UDP + VXLAN + skb->len;
	__u64 *sent = counted(TO_UPLINK);
	struct bpf_redir_neigh hop = { .nh_family = flow->hop_family };
	__u64 sum = 0;
	int failed;
	__u32 i;

	if (network->family == AF_INET) {
		struct outer4 outer __attribute__((aligned(8))) = {};
		struct ipv4 *ip = &outer.ip;

		ip->version_length = 0x45;
		ip->tos = outer_tos(packet->tos);
		ip->length = BE16(IPV4 + length);
		/* A router may cut it into fragments, as it may what the overlay's device makes. A flow counts from a number that
		 * nobody else knows. */
		ip->id = hash + (sent ? *sent : 0);
		ip->ttl = HOPS;
		ip->protocol = IPPROTO_UDP;
		ip->source = network->vtep[0];
		ip->destination = flow->vtep[0];
		for (i = 0; i < IPV4 / 4; i++)
			sum += ((__u32 *)ip)[i];
		ip->checksum = ~folded(sum);
		fill_vxlan(&outer.vxlan, network, packet, macs, port, length);
		sum = (__u64)ip->source + ip->destination;
		outer.vxlan.udp.checksum = outer_checksum(sum, &outer.vxlan, packet);
		failed = put_in_front(skb, &outer, sizeof(outer), BPF_F_ADJ_ROOM_ENCAP_L3_IPV4, BE16(ETH_P_IP));
	} else {
		struct outer6 outer __attribute__((aligned(8))) = {};
		struct ipv6 *ip = &outer.ip;

		ip->class_label = BE32(0x60000000 | outer_tos(packet->tos) << 20);
		ip->payload = BE16(length);
		ip->next = IPPROTO_UDP;
		ip->hops = HOPS;
		for (i = 0; i < 4; i++) {
			ip->source[i] = network->vtep[i];
			ip->destination[i] = flow->vtep[i];
			sum += (__u64)ip->source[i] + ip->destination[i];
		}
		fill_vxlan(&outer.vxlan, network, packet, macs, port, length);
		outer.vxlan.udp.checksum = outer_checksum(sum, &outer.vxlan, packet);
		failed = put_in_front(skb, &outer, sizeof(outer), BPF_F_ADJ_ROOM_ENCAP_L3_IPV6, BE16(ETH_P_IPV6));
	}
	if (failed)
		return failed;
	for (i = 0; i < 4; i++)
		hop.ipv6_nh[i] = flow->hop[i];
	return redirect_neigh(flow->uplink, &hop, sizeof(hop), 0);
}
