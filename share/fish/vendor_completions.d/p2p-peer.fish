# Completion of p2p-peer for fish, made by `make share`.

# Whether what has been typed so far matches: the command, a colon, and how many arguments it has.
function __p2p_peer_at
    set -l command ''
    set -l count 0
    set -l takes_value 0
    for word in (commandline -opc)[2..-1]
        if test $takes_value != 0; and not string match -q -- '-*' $word
            test $takes_value = 1; and set takes_value 0
            continue
        end
        set takes_value 0
        if contains -- $word --send
            set takes_value 2
        else if contains -- $word --address-service --bind --bits --exclude --key --limit-rate --max-size --mediator-id --message --overwrite --peer-key --phrase --receive --send --state-dir --stun --timeout --token --token-file --ttl --wait -c -i -k -m -p -r -t
            set takes_value 1
        else if string match -q -- '-*' $word
            continue
        else if test "$command$count" = 0; and contains -- $word token direct keygen fingerprint netcheck trust verify
            set command $word
        else
            set count (math $count + 1)
        end
    end
    test $takes_value = 2; and set count several
    string match -q -- $argv[1] $command:$count
end

complete -c p2p-peer -e
complete -c p2p-peer -f
complete -c p2p-peer -n "__p2p_peer_at ':*'" -s h -l help -d 'show this help message and exit'
complete -c p2p-peer -n "__p2p_peer_at ':*'" -l version -d 'show program\'s version number and exit'
complete -c p2p-peer -n "__p2p_peer_at ':*'" -l message -x -d 'send a message'
complete -c p2p-peer -n "__p2p_peer_at ':*'" -l send -r -F -d 'send files and folders, all of them as one transfer; - is standard input'
complete -c p2p-peer -n "__p2p_peer_at ':*'" -l receive -x -a '(__fish_complete_directories)' -d 'receive one transfer into DIR (this folder); - is standard output, for one file or stream'
complete -c p2p-peer -n "__p2p_peer_at ':*'" -l exclude -x -d 'leave out what has such a name in a folder'
complete -c p2p-peer -n "__p2p_peer_at ':*'" -l include-hidden -d 'send what has a dot before its name, too'
complete -c p2p-peer -n "__p2p_peer_at ':*'" -l limit-rate -x -d 'send at most so many bytes a second: 500k, 2M'
complete -c p2p-peer -n "__p2p_peer_at ':*'" -l overwrite -x -a 'ask never always rename' -d 'what to do with what is there already: ask, never, always, or rename what comes (rename)'
complete -c p2p-peer -n "__p2p_peer_at ':*'" -l in-place -d 'overwrite the bytes of files that are there; with --overwrite always'
complete -c p2p-peer -n "__p2p_peer_at ':*'" -l max-size -x -d 'with --yes, refuse what is larger: 500M, 20G'
complete -c p2p-peer -n "__p2p_peer_at ':*'" -l yes -d 'accept files without asking; needed where nobody can be asked'
complete -c p2p-peer -n "__p2p_peer_at ':*'" -l wait -x -d 'wait this long for the other peer (for ever)'
complete -c p2p-peer -n "__p2p_peer_at ':*'" -l timeout -x -d 'be done within this time (no limit)'
complete -c p2p-peer -n "__p2p_peer_at ':*'" -s v -l verbose -d 'tell each step of connecting on stderr, with times'
complete -c p2p-peer -n "__p2p_peer_at ':*'" -l json -d 'print events as JSON, one a line, and nothing else on stdout'
complete -c p2p-peer -n "__p2p_peer_at ':*'" -l direct-only -d 'never through the mediator\'s relay'
complete -c p2p-peer -n "__p2p_peer_at ':*'" -l relay-only -d 'through the relay alone: the other side learns no address of yours'
complete -c p2p-peer -n "__p2p_peer_at ':*'" -l ipv4 -d 'over IPv4 only'
complete -c p2p-peer -n "__p2p_peer_at ':*'" -l ipv6 -d 'over IPv6 only'
complete -c p2p-peer -n "__p2p_peer_at ':*'" -l bind -x -d 'from this address of this computer only'
complete -c p2p-peer -n "__p2p_peer_at ':*'" -l no-port-mapping -d 'do not ask the router to open ports'
complete -c p2p-peer -n "__p2p_peer_at ':*'" -l stun -x -d 'ask this STUN server as well, HOST[:PORT][/udp|/tcp] (3478, UDP), and none of the configuration\'s'
complete -c p2p-peer -n "__p2p_peer_at ':*'" -l mediator-id -x -d 'the id its key must have, whatever is remembered'
complete -c p2p-peer -n "__p2p_peer_at ':*'" -l insecure -d 'no TLS to the mediator: it ends somewhere else, and nobody vouches for it'
complete -c p2p-peer -n "__p2p_peer_at ':*'" -l state-dir -x -a '(__fish_complete_directories)' -d 'where known mediators, receipts, journals and the history are (~/.local/state/punchwire)'
complete -c p2p-peer -n "__p2p_peer_at ':several'" -F
complete -c p2p-peer -n "__p2p_peer_at ':0'" -a token -d 'Meet another peer without a mediator: each side gives the other its token, by any way there is.'
complete -c p2p-peer -n "__p2p_peer_at ':0'" -a direct -d 'Meet another peer without a mediator where one of the two can be dialled.'
complete -c p2p-peer -n "__p2p_peer_at ':0'" -a keygen -d 'Make a key pair: DIR/key.pem (0600) and DIR/public.pem.'
complete -c p2p-peer -n "__p2p_peer_at ':0'" -a fingerprint -d 'Print a key\'s peer id, and words to read to each other.'
complete -c p2p-peer -n "__p2p_peer_at ':0'" -a netcheck -d 'Tell what this network is like, and which peers it can reach directly.'
complete -c p2p-peer -n "__p2p_peer_at ':0'" -a trust -d 'List, name, verify or remove the peers and mediators that are remembered.'
complete -c p2p-peer -n "__p2p_peer_at ':0'" -a verify -d 'Tell whether a file is what was sent or received, by the receipt that both sides signed.'
complete -c p2p-peer -n "__p2p_peer_at ':0'" -a '(__fish_print_hostnames)'
complete -c p2p-peer -n "__p2p_peer_at ':2'" -F
complete -c p2p-peer -n "__p2p_peer_at ':3'" -F
complete -c p2p-peer -n "__p2p_peer_at 'token:*'" -s h -l help -d 'show this help message and exit'
complete -c p2p-peer -n "__p2p_peer_at 'token:*'" -l phrase -x -d 'what both sides have agreed on, to lock the tokens with; or P2P_PEER_PHRASE'
complete -c p2p-peer -n "__p2p_peer_at 'token:*'" -l ttl -x -d 'how long your token is good: 30 to 3600 (600)'
complete -c p2p-peer -n "__p2p_peer_at 'token:*'" -l token -x -d 'the other side\'s token; without it you are asked for it'
complete -c p2p-peer -n "__p2p_peer_at 'token:*'" -l token-file -r -F -d 'a file that has the other side\'s token; - is standard input'
complete -c p2p-peer -n "__p2p_peer_at 'token:*'" -l no-qr -d 'do not show your token as a QR code, too'
complete -c p2p-peer -n "__p2p_peer_at 'token:*'" -l message -x -d 'send a message'
complete -c p2p-peer -n "__p2p_peer_at 'token:*'" -l send -r -F -d 'send files and folders, all of them as one transfer; - is standard input'
complete -c p2p-peer -n "__p2p_peer_at 'token:*'" -l receive -x -a '(__fish_complete_directories)' -d 'receive one transfer into DIR (this folder); - is standard output, for one file or stream'
complete -c p2p-peer -n "__p2p_peer_at 'token:*'" -l exclude -x -d 'leave out what has such a name in a folder'
complete -c p2p-peer -n "__p2p_peer_at 'token:*'" -l include-hidden -d 'send what has a dot before its name, too'
complete -c p2p-peer -n "__p2p_peer_at 'token:*'" -l limit-rate -x -d 'send at most so many bytes a second: 500k, 2M'
complete -c p2p-peer -n "__p2p_peer_at 'token:*'" -l overwrite -x -a 'ask never always rename' -d 'what to do with what is there already: ask, never, always, or rename what comes (rename)'
complete -c p2p-peer -n "__p2p_peer_at 'token:*'" -l in-place -d 'overwrite the bytes of files that are there; with --overwrite always'
complete -c p2p-peer -n "__p2p_peer_at 'token:*'" -l max-size -x -d 'with --yes, refuse what is larger: 500M, 20G'
complete -c p2p-peer -n "__p2p_peer_at 'token:*'" -l yes -d 'accept files without asking; needed where nobody can be asked'
complete -c p2p-peer -n "__p2p_peer_at 'token:*'" -l timeout -x -d 'be done within this time (no limit)'
complete -c p2p-peer -n "__p2p_peer_at 'token:*'" -s v -l verbose -d 'tell each step of connecting on stderr, with times'
complete -c p2p-peer -n "__p2p_peer_at 'token:*'" -l json -d 'print events as JSON, one a line, and nothing else on stdout'
complete -c p2p-peer -n "__p2p_peer_at 'token:*'" -l ipv4 -d 'over IPv4 only'
complete -c p2p-peer -n "__p2p_peer_at 'token:*'" -l ipv6 -d 'over IPv6 only'
complete -c p2p-peer -n "__p2p_peer_at 'token:*'" -l bind -x -d 'from this address of this computer only'
complete -c p2p-peer -n "__p2p_peer_at 'token:*'" -l no-port-mapping -d 'do not ask the router to open ports'
complete -c p2p-peer -n "__p2p_peer_at 'token:*'" -l stun -x -d 'ask this STUN server as well, HOST[:PORT][/udp|/tcp] (3478, UDP), and none of the configuration\'s'
complete -c p2p-peer -n "__p2p_peer_at 'token:*'" -l address-service -x -d 'ask there what this computer\'s public address is, where no STUN server answers (nobody is asked)'
complete -c p2p-peer -n "__p2p_peer_at 'token:*'" -l state-dir -x -a '(__fish_complete_directories)' -d 'where receipts, journals and the history are (~/.local/state/punchwire)'
complete -c p2p-peer -n "__p2p_peer_at 'token:several'" -F
complete -c p2p-peer -n "__p2p_peer_at 'token:0'" -F
complete -c p2p-peer -n "__p2p_peer_at 'token:1'" -F
complete -c p2p-peer -n "__p2p_peer_at 'direct:*'" -s h -l help -d 'show this help message and exit'
complete -c p2p-peer -n "__p2p_peer_at 'direct:*'" -s i -x -d 'listen at this address of this computer only (all)'
complete -c p2p-peer -n "__p2p_peer_at 'direct:*'" -s p -x -d 'listen at this port (8000); 0 is any that is free'
complete -c p2p-peer -n "__p2p_peer_at 'direct:*'" -s t -x -a '(__fish_print_hostnames)' -d 'the other peer\'s host name or IP address, and its port if you like: HOST:PORT or [IPv6]:PORT'
complete -c p2p-peer -n "__p2p_peer_at 'direct:*'" -s r -x -d 'the port that the other peer listens at (8000)'
complete -c p2p-peer -n "__p2p_peer_at 'direct:*'" -s m -x -a '0 1 2' -d '0 connects to TARGET and, failing that, waits for it, listening all the while; 1 only connects; 2 only listens (0)'
complete -c p2p-peer -n "__p2p_peer_at 'direct:*'" -l ipv4 -d 'over IPv4 only'
complete -c p2p-peer -n "__p2p_peer_at 'direct:*'" -l ipv6 -d 'over IPv6 only'
complete -c p2p-peer -n "__p2p_peer_at 'direct:*'" -s k -r -F -d 'your RSA key pair, PEM; without it one is made and kept'
complete -c p2p-peer -n "__p2p_peer_at 'direct:*'" -s c -r -F -d 'your own certificate, PEM: it must belong to the key pair of -k, and is not needed otherwise, as the certificate of the connection is always a throwaway one'
complete -c p2p-peer -n "__p2p_peer_at 'direct:*'" -l peer-key -r -F -d 'the other peer\'s public key, PEM; without it the key is remembered at the first connection, and must be the same from then on'
complete -c p2p-peer -n "__p2p_peer_at 'direct:*'" -l require-known -d 'connect to no peer that is not remembered already'
complete -c p2p-peer -n "__p2p_peer_at 'direct:*'" -l message -x -d 'send a message'
complete -c p2p-peer -n "__p2p_peer_at 'direct:*'" -l send -r -F -d 'send files and folders, all of them as one transfer; - is standard input'
complete -c p2p-peer -n "__p2p_peer_at 'direct:*'" -l receive -x -a '(__fish_complete_directories)' -d 'receive one transfer into DIR (this folder); - is standard output, for one file or stream'
complete -c p2p-peer -n "__p2p_peer_at 'direct:*'" -l exclude -x -d 'leave out what has such a name in a folder'
complete -c p2p-peer -n "__p2p_peer_at 'direct:*'" -l include-hidden -d 'send what has a dot before its name, too'
complete -c p2p-peer -n "__p2p_peer_at 'direct:*'" -l limit-rate -x -d 'send at most so many bytes a second: 500k, 2M'
complete -c p2p-peer -n "__p2p_peer_at 'direct:*'" -l overwrite -x -a 'ask never always rename' -d 'what to do with what is there already: ask, never, always, or rename what comes (rename)'
complete -c p2p-peer -n "__p2p_peer_at 'direct:*'" -l in-place -d 'overwrite the bytes of files that are there; with --overwrite always'
complete -c p2p-peer -n "__p2p_peer_at 'direct:*'" -l max-size -x -d 'with --yes, refuse what is larger: 500M, 20G'
complete -c p2p-peer -n "__p2p_peer_at 'direct:*'" -l yes -d 'accept files without asking; needed where nobody can be asked'
complete -c p2p-peer -n "__p2p_peer_at 'direct:*'" -l wait -x -d 'wait this long for the other peer (for ever); with -m 1, dial again for so long (once)'
complete -c p2p-peer -n "__p2p_peer_at 'direct:*'" -l timeout -x -d 'be done within this time (no limit)'
complete -c p2p-peer -n "__p2p_peer_at 'direct:*'" -s v -l verbose -d 'tell each step of connecting on stderr, with times'
complete -c p2p-peer -n "__p2p_peer_at 'direct:*'" -l json -d 'print events as JSON, one a line, and nothing else on stdout'
complete -c p2p-peer -n "__p2p_peer_at 'direct:*'" -l state-dir -x -a '(__fish_complete_directories)' -d 'where known peers, your own key pair, receipts, journals and the history are (~/.local/state/punchwire)'
complete -c p2p-peer -n "__p2p_peer_at 'direct:several'" -F
complete -c p2p-peer -n "__p2p_peer_at 'keygen:*'" -s h -l help -d 'show this help message and exit'
complete -c p2p-peer -n "__p2p_peer_at 'keygen:*'" -l bits -x -d 'size of the key (3072)'
complete -c p2p-peer -n "__p2p_peer_at 'keygen:*'" -l passphrase -d 'lock the key pair: asks, or takes P2P_PEER_PASSPHRASE'
complete -c p2p-peer -n "__p2p_peer_at 'keygen:0'" -a '(__fish_complete_directories)'
complete -c p2p-peer -n "__p2p_peer_at 'fingerprint:*'" -s h -l help -d 'show this help message and exit'
complete -c p2p-peer -n "__p2p_peer_at 'fingerprint:0'" -F
complete -c p2p-peer -n "__p2p_peer_at 'netcheck:*'" -s h -l help -d 'show this help message and exit'
complete -c p2p-peer -n "__p2p_peer_at 'netcheck:*'" -l json -d 'print what was found as one JSON object'
complete -c p2p-peer -n "__p2p_peer_at 'netcheck:*'" -s v -l verbose -d 'tell each step of connecting on stderr, with times'
complete -c p2p-peer -n "__p2p_peer_at 'netcheck:*'" -l insecure -d 'no TLS to the mediator: it ends somewhere else, and nobody vouches for it'
complete -c p2p-peer -n "__p2p_peer_at 'netcheck:*'" -l ipv4 -d 'over IPv4 only'
complete -c p2p-peer -n "__p2p_peer_at 'netcheck:*'" -l ipv6 -d 'over IPv6 only'
complete -c p2p-peer -n "__p2p_peer_at 'netcheck:*'" -l bind -x -d 'from this address of this computer only'
complete -c p2p-peer -n "__p2p_peer_at 'netcheck:*'" -l no-port-mapping -d 'do not ask the router to open ports'
complete -c p2p-peer -n "__p2p_peer_at 'netcheck:*'" -l stun -x -d 'ask this STUN server as well, HOST[:PORT][/udp|/tcp] (3478, UDP), and none of the configuration\'s'
complete -c p2p-peer -n "__p2p_peer_at 'netcheck:0'" -a '(__fish_print_hostnames)'
complete -c p2p-peer -n "__p2p_peer_at 'trust:*'" -s h -l help -d 'show this help message and exit'
complete -c p2p-peer -n "__p2p_peer_at 'trust:*'" -l key -r -F -d 'with verify: your key, to show its words as well'
complete -c p2p-peer -n "__p2p_peer_at 'trust:*'" -l yes -d 'with verify: do not ask, the words are the same'
complete -c p2p-peer -n "__p2p_peer_at 'trust:*'" -l json -d 'print all that is remembered then as one JSON object, with ids in full'
complete -c p2p-peer -n "__p2p_peer_at 'trust:*'" -l state-dir -x -a '(__fish_complete_directories)' -d 'where they are remembered (~/.local/state/punchwire)'
complete -c p2p-peer -n "__p2p_peer_at 'trust:0'" -a 'list name verify remove'
complete -c p2p-peer -n "__p2p_peer_at 'verify:*'" -s h -l help -d 'show this help message and exit'
complete -c p2p-peer -n "__p2p_peer_at 'verify:*'" -l json -d 'print what was found as one JSON object'
complete -c p2p-peer -n "__p2p_peer_at 'verify:1'" -F
