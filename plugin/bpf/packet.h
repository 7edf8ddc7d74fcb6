/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* Reading a packet: an Ethernet frame without a VLAN, IPv4 or IPv6 without options and fragments, TCP or UDP. */
#pragma once

#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/in.h>

#include "maps.h"

#define AF_INET 2
#define AF_INET6 10

#define FIN 0x01
#define SYN 0x02
#define RST 0x04

/* Bytes of headers. */
#define ETHERNET 14
#define IPV4 20
#define IPV6 40

struct ipv4 {
	__u8 version_length;
	__u8 tos;
	__u16 length;
	__u16 id;
	__u16 fragment;
	__u8 ttl;
	__u8 protocol;
	__u16 checksum;
	__u32 source;
	__u32 destination;
};

struct ipv6 {
	__u32 class_label;
	__u16 payload;
	__u8 next;
	__u8 hops;
	__u32 source[4];
	__u32 destination[4];
};

/* The first 20 bytes of TCP; of UDP 8, and the checksum at 6. */
struct tcp {
	__u16 source;
	__u16 destination;
	__u32 sequence;
	__u32 acknowledged;
	__u8 offset;
	__u8 flags;
};

struct udp {
	__u16 source;
	__u16 destination;
	__u16 length;
	__u16 checksum;
};

struct packet {
	struct flow_key key;
	/* Which end of the flow has sent it. */
	__u32 from;
	/* Bytes of IP and transport header. */
	__u32 network;
	__u32 transport;
	/* The same as `protocol` in __sk_buff: in network order. */
	__u32 protocol;
	/* The first word of an IPv6 header. */
	__u32 class_label;
	__u8 ttl;
	__u8 tos;
	__u8 tcp_flags;
	/* A UDP packet without a checksum. */
	__u8 unchecked;
};

enum parsed {
	PARSED,
	/* It may be one, when more of it can be read. */
	SHORT,
	NOT_OURS,
};

/* Which of two ends comes first: any order that is the same for both directions. */
INLINE int follows(const __u32 *a, const __u32 *b, __u16 port_a, __u16 port_b)
{
	if (a[3] != b[3])
		return a[3] > b[3];
	if (a[2] != b[2])
		return a[2] > b[2];
	if (a[1] != b[1])
		return a[1] > b[1];
	if (a[0] != b[0])
		return a[0] > b[0];
	return port_a > port_b;
}

/* `before` is how many bytes are in front of the IP header, `ethertype` what the Ethernet header says of it. */
INLINE enum parsed parse_once(struct __sk_buff *skb, struct packet *packet, __u32 before, __u16 ethertype)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	__u32 source[4], destination[4];
	__u16 source_port, destination_port;
	struct udp *udp;
	void *transport;
	__u8 protocol;

	packet->protocol = ethertype;
	if (packet->protocol == BE16(ETH_P_IP)) {
		struct ipv4 *ip = data + before;

		transport = ip + 1;
		if (transport > end)
			return SHORT;
		/* Neither options nor fragments, and nothing behind the end: the stack would judge or cut those. */
		if (ip->version_length != 0x45 || ip->fragment & BE16(0x3fff) ||
		    BE16(ip->length) + before != skb->len)
			return NOT_OURS;
		source[0] = source[1] = destination[0] = destination[1] = 0;
		source[2] = destination[2] = BE32(0xffff);
		source[3] = ip->source;
		destination[3] = ip->destination;
		protocol = ip->protocol;
		packet->ttl = ip->ttl;
		packet->tos = ip->tos;
		packet->network = IPV4;
	} else if (packet->protocol == BE16(ETH_P_IPV6)) {
		struct ipv6 *ip = data + before;

		transport = ip + 1;
		if (transport > end)
			return SHORT;
		if ((ip->class_label & 0xf0) != 0x60 || BE16(ip->payload) + IPV6 + before != skb->len)
			return NOT_OURS;
		__builtin_memcpy(source, ip->source, sizeof(source));
		__builtin_memcpy(destination, ip->destination, sizeof(destination));
		protocol = ip->next;
		packet->ttl = ip->hops;
		packet->class_label = ip->class_label;
		packet->tos = BE32(ip->class_label) >> 20;
		packet->network = IPV6;
	} else {
		return NOT_OURS;
	}

	udp = transport;
	if (protocol == IPPROTO_TCP) {
		struct tcp *tcp = transport;

		if (transport + 20 > end)
			return SHORT;
		packet->tcp_flags = tcp->flags;
		packet->transport = (tcp->offset >> 4) * 4;
		packet->unchecked = 0;
	} else if (protocol == IPPROTO_UDP) {
		if (transport + 8 > end)
			return SHORT;
		/* Data behind what UDP calls its end (RFC 9868) are no part of what its checksum is of, which the outer one
		 * follows from. */
		if (BE16(udp->length) + before + packet->network != skb->len)
			return NOT_OURS;
		packet->tcp_flags = 0;
		packet->transport = 8;
		packet->unchecked = udp->checksum == 0;
	} else {
		return NOT_OURS;
	}
	source_port = udp->source;
	destination_port = udp->destination;

	packet->from = follows(source, destination, source_port, destination_port);
	packet->key.protocol = protocol;
	packet->key.network = packet->network;
	packet->key.zero[0] = packet->key.zero[1] = 0;
	/* The verifier takes no index that it does not know into the stack. */
	if (packet->from) {
		__builtin_memcpy(packet->key.address[1], source, sizeof(source));
		__builtin_memcpy(packet->key.address[0], destination, sizeof(destination));
		packet->key.port[1] = source_port;
		packet->key.port[0] = destination_port;
	} else {
		__builtin_memcpy(packet->key.address[0], source, sizeof(source));
		__builtin_memcpy(packet->key.address[1], destination, sizeof(destination));
		packet->key.port[0] = source_port;
		packet->key.port[1] = destination_port;
	}
	return PARSED;
}

/* Whether it is a packet that may be on the fast way; `packet` is what it says then. */
INLINE int parse(struct __sk_buff *skb, struct packet *packet)
{
	enum parsed parsed;

	if (skb->vlan_present)
		return 0;
	parsed = parse_once(skb, packet, ETHERNET, skb->protocol);
	if (UNLIKELY(parsed == SHORT)) {
		__u32 most = ETHERNET + IPV6 + 20;

		/* The headers are in fragments of the buffer. */
		if (pull_data(skb, skb->len < most ? skb->len : most))
			return 0;
		parsed = parse_once(skb, packet, ETHERNET, skb->protocol);
	}
	return parsed == PARSED;
}

/* Whether an element is the flow's still, and not reused while it was read. */
INLINE int same_key(const struct flow_key *a, const struct flow_key *b)
{
	const __u64 *x = (const void *)a, *y = (const void *)b;

	return x[0] == y[0] && x[1] == y[1] && x[2] == y[2] && x[3] == y[3] && x[4] == y[4];
}
