//! Answers to echo requests, and errors about them, made by hand.

use super::*;

#[test]
fn the_checksum_of_a_message_with_it_is_zero() {
    // The example of RFC 1071, section 3.
    assert_eq!(checksum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), !0xddf2);
    assert_eq!(checksum(&[0xff]), 0x00ff);
}

#[test]
fn only_an_answer_to_us_counts() {
    // A raw socket needs root: messages are made by hand, and none is sent.
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut echo = Echo::with(socket, true, Vec::new());
    let tag = tag(70_000, 2);
    let request = echo.request(tag);
    assert_eq!(echo.answer(&request), None);
    let mut reply = request.clone();
    reply[0] = 129;
    assert_eq!(echo.answer(&reply), Some(tag));
    assert_eq!(echo.answer(&reply[..15]), None);
    reply[8] ^= 1;
    assert_eq!(echo.answer(&reply), None);
    let again = UdpSocket::bind("127.0.0.1:0").unwrap();
    let other = Echo::with(again, true, Vec::new());
    assert_ne!(other.request(tag), request, "an answer is to one question only");

    echo.v6 = false;
    let mut packet = vec![0x45; 20];
    packet.extend(echo.request(tag));
    assert_eq!(checksum(&packet[20..]), 0);
    assert_eq!(echo.answer(&packet), None);
    packet[20] = 0;
    assert_eq!(echo.answer(&packet), Some(tag));
    assert_eq!(echo.answer(&[]), None);
}

#[test]
fn an_answer_that_is_there_at_the_deadline_counts() {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let target = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut echo = Echo::with(socket, true, vec!["127.0.0.1".parse().unwrap()]);
    echo.waiting.insert(tag(0, 0), (0, Instant::now()));
    let mut reply = echo.request(tag(0, 0));
    reply[0] = 129;
    target.send_to(&reply, echo.socket.local_addr().unwrap()).unwrap();
    echo.socket.peek(&mut [0; 256]).unwrap();
    assert!(echo.finish(Instant::now()).unwrap()[0].and_then(Heard::trip).is_some());
}

#[test]
fn the_best_answer_of_the_one_asked_counts() {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let targets: Vec<IpAddr> = vec!["10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap()];
    let mut echo = Echo::with(socket, false, targets.clone());
    let start = Instant::now();
    let after = |micros| start + Duration::from_micros(micros);
    for round in 0..3 {
        echo.waiting.insert(tag(0, round), (0, start));
    }
    echo.note(tag(0, 0), targets[1], after(1));
    assert_eq!(echo.heard, [None, None]);
    echo.note(tag(0, 0), targets[0], after(50));
    echo.note(tag(0, 0), targets[0], after(10));
    echo.note(tag(0, 1), targets[0], after(30));
    echo.note(tag(0, 2), targets[0], after(40));
    echo.note(tag(1, 0), targets[1], after(5));
    echo.waiting.insert(tag(0, 1), (0, start));
    echo.give_up(tag(0, 1), targets[0], false);
    assert_eq!(echo.heard, [Some(Heard::Reply(Duration::from_micros(30))), None]);
    // The target's own word counts more than a router's, whichever comes first.
    for (round, by, heard) in
        [(2, "10.0.0.9", "10.0.0.9"), (0, "10.0.0.2", "10.0.0.2"), (1, "10.0.0.9", "10.0.0.2")]
    {
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        echo.waiting.insert(tag(1, round), (1, start));
        echo.give_up(tag(1, round), address(by), true);
        let heard = Heard::Unreachable { by: address(heard), ends: true };
        assert_eq!(echo.heard[1], Some(heard), "{by}");
    }
    assert!(echo.waiting.is_empty());
}

#[test]
fn an_error_about_our_question_counts() {
    for (v6, kind, reply) in [(false, 3, 0), (true, 1, 129)] {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut echo = Echo::with(socket, v6, Vec::new());
        let tag = tag(3, 1);
        let headers: usize = if v6 { 40 } else { 20 };
        let mut packet = vec![0x45; if v6 { 0 } else { headers }];
        let start = packet.len();
        packet.extend([kind, 1, 0, 0, 0, 0, 0, 0]);
        packet.extend(vec![0x45; headers]);
        packet.extend(echo.request(tag));
        let ends = !v6;
        assert_eq!(
            echo.error(&packet),
            Some((tag, ends)),
            "administratively prohibited, or no such host"
        );
        assert_eq!(echo.answer(&packet), None);
        assert_eq!(echo.error(&packet[..packet.len() - 1]), None, "cut off");
        let quoted = start + 8 + headers;
        packet[quoted] = reply;
        assert_eq!(echo.error(&packet), None, "about an answer");
        packet[quoted] = if v6 { 128 } else { 8 };
        packet[start] = reply;
        assert_eq!(echo.error(&packet), None, "no error");
        packet[start] = kind;
        echo.identity ^= 1;
        assert_eq!(echo.error(&packet), None, "another's");
        assert_eq!(echo.error(&[]), None);
    }
}
