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
        else if contains -- $word --authorized --host --log-format --log-level --port --relay-bytes --relay-rate --state-dir --stun-host --stun-port --stun-server --tls-cert --tls-key
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
complete -c p2p-server -n "__p2p_server_at ':*'" -l stun-port -x -d 'port for STUN, with the next one; 0 for any (default: 54701) [P2P_SERVER_STUN_PORT]'
complete -c p2p-server -n "__p2p_server_at ':*'" -l stun-host -x -a '(__fish_print_hostnames)' -d 'a second address of this machine, for STUN (default: none) [P2P_SERVER_STUN_HOST]'
complete -c p2p-server -n "__p2p_server_at ':*'" -l stun-server -x -d 'another STUN server that peers are told of, for a mediator behind a TCP-only tunnel; may be given several times [P2P_SERVER_STUN_SERVER, with spaces between]'
complete -c p2p-server -n "__p2p_server_at ':*'" -l no-stun -d 'answer no STUN: peers are told of the servers of --stun-server only [P2P_SERVER_NO_STUN]'
complete -c p2p-server -n "__p2p_server_at ':*'" -l no-relay -d 'relay nothing: peers that find no direct way do not meet [P2P_SERVER_NO_RELAY]'
complete -c p2p-server -n "__p2p_server_at ':*'" -l relay-rate -x -d 'bytes/s each way of one relay, 0 for no limit (default: 4M); a peer has 4 times that for all its relays [P2P_SERVER_RELAY_RATE]'
complete -c p2p-server -n "__p2p_server_at ':*'" -l relay-bytes -x -d 'bytes relayed between two peers in a day, 0 for no limit (default: 4G); a peer sends at most 4 times that to all others [P2P_SERVER_RELAY_BYTES]'
complete -c p2p-server -n "__p2p_server_at ':*'" -l authorized -x -a '(__fish_complete_directories)' -d 'folder of the keys that are admitted (default: authorized in the state folder) [P2P_SERVER_AUTHORIZED]'
complete -c p2p-server -n "__p2p_server_at ':*'" -l state-dir -x -a '(__fish_complete_directories)' -d 'folder of what is kept between starts (default: ~/.local/state/punchwire-mediator) [P2P_SERVER_STATE_DIR]'
complete -c p2p-server -n "__p2p_server_at ':*'" -l open -d 'admit every key that proves itself [P2P_SERVER_OPEN]'
complete -c p2p-server -n "__p2p_server_at ':*'" -l tls-cert -r -F -d 'certificate chain to show (default: one made at the first start, and kept) [P2P_SERVER_TLS_CERT]'
complete -c p2p-server -n "__p2p_server_at ':*'" -l tls-key -r -F -d 'the key of --tls-cert [P2P_SERVER_TLS_KEY]'
complete -c p2p-server -n "__p2p_server_at ':*'" -l insecure -d 'no TLS, for where it ends in front of the mediator: peers cannot authenticate it [P2P_SERVER_INSECURE]'
complete -c p2p-server -n "__p2p_server_at ':*'" -l log-format -x -a 'text json' -d 'text or json, on standard error (default: text) [P2P_SERVER_LOG_FORMAT]'
complete -c p2p-server -n "__p2p_server_at ':*'" -l log-level -x -a 'debug info warning error' -d 'debug, info, warning, error (default: info) [P2P_SERVER_LOG_LEVEL]'
complete -c p2p-server -n "__p2p_server_at ':0'" -a authorize -d 'File each public key under its peer id in the folder of authorized keys. A certificate or a key pair is read for its public key. Prints each peer id and its file.'
complete -c p2p-server -n "__p2p_server_at 'authorize:*'" -s h -l help -d 'show this help message and exit'
complete -c p2p-server -n "__p2p_server_at 'authorize:*'" -l authorized -x -a '(__fish_complete_directories)' -d 'folder of the keys that are admitted (default: authorized in the state folder) [P2P_SERVER_AUTHORIZED]'
complete -c p2p-server -n "__p2p_server_at 'authorize:*'" -l state-dir -x -a '(__fish_complete_directories)' -d 'folder of what is kept between starts (default: ~/.local/state/punchwire-mediator) [P2P_SERVER_STATE_DIR]'
complete -c p2p-server -n "__p2p_server_at 'authorize:*'" -F
