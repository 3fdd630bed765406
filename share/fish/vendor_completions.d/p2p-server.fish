# Completion of p2p-server for fish, made by `make share`.

# Whether what has been typed so far matches: the command, a colon, and how many arguments it has.
function __p2p_server_at
    set -l command ''
    set -l count 0
    set -l takes_value 0
    for word in (commandline -opc)[2..-1]
        if test $takes_value != 0; and not string match -q -- '-*' $word
            test $takes_value = 1; and set takes_value 0
            continue
        end
        set takes_value 0
        if contains -- $word 
            set takes_value 2
        else if contains -- $word --advertise --authorized --connection-idle --drain-seconds --handshake-timeout --handshakes-per-second --host --log-format --log-level --max-advertisements --max-connections --max-message --max-relays --max-relays-per-key --max-unauthenticated --max-unauthenticated-per-address --metrics --port --relay-bytes --relay-idle --relay-key-bytes --relay-key-rate --relay-rate --relay-total-bytes --relay-total-rate --signals-per-second --state-dir --steps-per-second --store --streams-per-minute --stun-connections-per-address --stun-host --stun-port --stun-server --tls-cert --tls-key
            set takes_value 1
        else if string match -q -- '-*' $word
            continue
        else if test "$command$count" = 0; and contains -- $word authorize
            set command $word
        else
            set count (math $count + 1)
        end
    end
    test $takes_value = 2; and set count several
    string match -q -- $argv[1] $command:$count
end

complete -c p2p-server -e
complete -c p2p-server -f
complete -c p2p-server -n "__p2p_server_at ':*'" -s h -l help -d 'show this help message and exit'
complete -c p2p-server -n "__p2p_server_at ':*'" -l version -d 'show program\'s version number and exit'
complete -c p2p-server -n "__p2p_server_at ':*'" -l host -x -a '(__fish_print_hostnames)' -d 'address or name to listen on (default: all, IPv4 and IPv6) [P2P_SERVER_HOST]'
complete -c p2p-server -n "__p2p_server_at ':*'" -l port -x -d 'TCP port for peers, 0 for any (default: 54700) [P2P_SERVER_PORT]'
complete -c p2p-server -n "__p2p_server_at ':*'" -l tls-cert -r -F -d 'certificate chain to show (default: one made at the first start, and kept) [P2P_SERVER_TLS_CERT]'
complete -c p2p-server -n "__p2p_server_at ':*'" -l tls-key -r -F -d 'the key of --tls-cert [P2P_SERVER_TLS_KEY]'
complete -c p2p-server -n "__p2p_server_at ':*'" -l insecure -d 'no TLS, for where it ends in front of the mediator: peers cannot authenticate it, and need --insecure too [P2P_SERVER_INSECURE]'
complete -c p2p-server -n "__p2p_server_at ':*'" -l behind-proxy -d 'peers come through a tunnel, proxy or balancer, from its address: nothing of theirs is counted by address, and none is told; --insecure implies it [P2P_SERVER_BEHIND_PROXY]'
complete -c p2p-server -n "__p2p_server_at ':*'" -l authorized -x -a '(__fish_complete_directories)' -d 'folder of the keys that are admitted (default: authorized in the state folder) [P2P_SERVER_AUTHORIZED]'
complete -c p2p-server -n "__p2p_server_at ':*'" -l state-dir -x -a '(__fish_complete_directories)' -d 'folder of what is kept between starts (default: ~/.local/state/punchwire-mediator) [P2P_SERVER_STATE_DIR]'
complete -c p2p-server -n "__p2p_server_at ':*'" -l open -d 'admit every key that proves itself; not together with --authorized, but a flag wins over the other\'s variable [P2P_SERVER_OPEN]'
complete -c p2p-server -n "__p2p_server_at ':*'" -l stun-port -x -d 'port for STUN, with the next one; 0 for any (default: 54701) [P2P_SERVER_STUN_PORT]'
complete -c p2p-server -n "__p2p_server_at ':*'" -l stun-host -x -a '(__fish_print_hostnames)' -d 'a second address of this machine, for STUN: from it peers learn whether their NAT gives them another port for each address (default: none) [P2P_SERVER_STUN_HOST]'
complete -c p2p-server -n "__p2p_server_at ':*'" -l stun-server -x -d 'another STUN server that peers are told of, for a mediator behind a TCP-only tunnel; may be given several times [P2P_SERVER_STUN_SERVER, with spaces between]'
complete -c p2p-server -n "__p2p_server_at ':*'" -l no-stun -d 'answer no STUN: peers are told of the servers of --stun-server only [P2P_SERVER_NO_STUN]'
complete -c p2p-server -n "__p2p_server_at ':*'" -l stun-connections-per-address -x -d 'connections for STUN over TCP at once from one IPv4 address or IPv6 /64 (default: 4096) [P2P_SERVER_STUN_CONNECTIONS_PER_ADDRESS]'
complete -c p2p-server -n "__p2p_server_at ':*'" -l no-relay -d 'relay nothing: peers that find no direct way do not meet [P2P_SERVER_NO_RELAY]'
complete -c p2p-server -n "__p2p_server_at ':*'" -l relay-rate -x -d 'bytes/s each way of one relay, 0 for no limit (default: 4M) [P2P_SERVER_RELAY_RATE]'
complete -c p2p-server -n "__p2p_server_at ':*'" -l relay-bytes -x -d 'bytes relayed between two peers in a day, 0 for no limit (default: 4G) [P2P_SERVER_RELAY_BYTES]'
complete -c p2p-server -n "__p2p_server_at ':*'" -l relay-key-rate -x -d 'bytes/s that a peer sends in all its relays, 0 for no limit (default: 4 times --relay-rate) [P2P_SERVER_RELAY_KEY_RATE]'
complete -c p2p-server -n "__p2p_server_at ':*'" -l relay-key-bytes -x -d 'bytes that a peer sends in a day, 0 for no limit (default: 4 times --relay-bytes) [P2P_SERVER_RELAY_KEY_BYTES]'
complete -c p2p-server -n "__p2p_server_at ':*'" -l relay-total-rate -x -d 'bytes/s of all relays together, 0 for no limit (default: 100M) [P2P_SERVER_RELAY_TOTAL_RATE]'
complete -c p2p-server -n "__p2p_server_at ':*'" -l relay-total-bytes -x -d 'bytes of all relays together in a day, 0 for no limit (default: 512G) [P2P_SERVER_RELAY_TOTAL_BYTES]'
complete -c p2p-server -n "__p2p_server_at ':*'" -l max-relays -x -d 'relays at once (default: 256) [P2P_SERVER_MAX_RELAYS]'
complete -c p2p-server -n "__p2p_server_at ':*'" -l max-relays-per-key -x -d 'relays of one peer at once (default: 16) [P2P_SERVER_MAX_RELAYS_PER_KEY]'
complete -c p2p-server -n "__p2p_server_at ':*'" -l relay-idle -x -d 'a relay that is silent for this long is ended (default: 60) [P2P_SERVER_RELAY_IDLE]'
complete -c p2p-server -n "__p2p_server_at ':*'" -l max-connections -x -d 'connections at once; further ones are closed unread (default: 16384) [P2P_SERVER_MAX_CONNECTIONS]'
complete -c p2p-server -n "__p2p_server_at ':*'" -l connection-idle -x -d 'a connection without a stream is closed after this long (default: 60) [P2P_SERVER_CONNECTION_IDLE]'
complete -c p2p-server -n "__p2p_server_at ':*'" -l max-unauthenticated -x -d 'streams at once on which no key was proved (default: 400) [P2P_SERVER_MAX_UNAUTHENTICATED]'
complete -c p2p-server -n "__p2p_server_at ':*'" -l max-unauthenticated-per-address -x -d 'of them, from one IPv4 address or IPv6 /64 (default: 25) [P2P_SERVER_MAX_UNAUTHENTICATED_PER_ADDRESS]'
complete -c p2p-server -n "__p2p_server_at ':*'" -l handshakes-per-second -x -d 'streams from one address in a second; four times that at once after a rest (default: 50) [P2P_SERVER_HANDSHAKES_PER_SECOND]'
complete -c p2p-server -n "__p2p_server_at ':*'" -l handshake-timeout -x -d 'for each step of a peer\'s proof (default: 10) [P2P_SERVER_HANDSHAKE_TIMEOUT]'
complete -c p2p-server -n "__p2p_server_at ':*'" -l streams-per-minute -x -d 'streams that one key opens in a minute (default: 60) [P2P_SERVER_STREAMS_PER_MINUTE]'
complete -c p2p-server -n "__p2p_server_at ':*'" -l max-advertisements -x -d 'peers that one peer waits for or is matched with (default: 32) [P2P_SERVER_MAX_ADVERTISEMENTS]'
complete -c p2p-server -n "__p2p_server_at ':*'" -l max-message -x -d 'bytes of one message of a peer (default: 64K) [P2P_SERVER_MAX_MESSAGE]'
complete -c p2p-server -n "__p2p_server_at ':*'" -l steps-per-second -x -d 'times that one peer asks for another, or takes it back; four times that at once after a rest (default: 20) [P2P_SERVER_STEPS_PER_SECOND]'
complete -c p2p-server -n "__p2p_server_at ':*'" -l signals-per-second -x -d 'signals of one peer to those it is matched with; four times that at once after a rest (default: 20) [P2P_SERVER_SIGNALS_PER_SECOND]'
complete -c p2p-server -n "__p2p_server_at ':*'" -l store -x -d 'where peers that wait for each other are matched: memory, for one instance alone, or redis://HOST:PORT/DB or rediss://HOST:PORT/DB, for as many as share it (default: memory). A password belongs into the variable, where other users of the machine do not see it: [P2P_SERVER_STORE]'
complete -c p2p-server -n "__p2p_server_at ':*'" -l advertise -x -d 'where peers reach this very instance, for its relays and STUN (default: the address that they dialled) [P2P_SERVER_ADVERTISE]'
complete -c p2p-server -n "__p2p_server_at ':*'" -l drain-seconds -x -d 'how long peers that are just meeting may go on when it is told to stop; all others are sent elsewhere at once (default: 30) [P2P_SERVER_DRAIN_SECONDS]'
complete -c p2p-server -n "__p2p_server_at ':*'" -l metrics -x -d 'where to answer GET /metrics, for Prometheus, and GET /health, for a balancer; 0 for any port (default: none; HOST without one: 127.0.0.1) [P2P_SERVER_METRICS]'
complete -c p2p-server -n "__p2p_server_at ':*'" -l log-format -x -a 'text json' -d 'text or json, on standard error (default: text) [P2P_SERVER_LOG_FORMAT]'
complete -c p2p-server -n "__p2p_server_at ':*'" -l log-level -x -a 'debug info warning error' -d 'debug, info, warning, error (default: info) [P2P_SERVER_LOG_LEVEL]'
complete -c p2p-server -n "__p2p_server_at ':*'" -l log-peers -d 'log who comes, meets and goes, with peer ids and addresses [P2P_SERVER_LOG_PEERS]'
complete -c p2p-server -n "__p2p_server_at ':0'" -a authorize -d 'File each public key under its peer id in the folder of authorized keys. A certificate or a key pair is read for its public key. Prints each peer id and its file.'
complete -c p2p-server -n "__p2p_server_at 'authorize:*'" -s h -l help -d 'show this help message and exit'
complete -c p2p-server -n "__p2p_server_at 'authorize:*'" -l authorized -x -a '(__fish_complete_directories)' -d 'folder of the keys that are admitted (default: authorized in the state folder) [P2P_SERVER_AUTHORIZED]'
complete -c p2p-server -n "__p2p_server_at 'authorize:*'" -l state-dir -x -a '(__fish_complete_directories)' -d 'folder of what is kept between starts (default: ~/.local/state/punchwire-mediator) [P2P_SERVER_STATE_DIR]'
complete -c p2p-server -n "__p2p_server_at 'authorize:*'" -F
