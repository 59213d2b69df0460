# What the sidecar lets out of the Tailscale CLI's JSON, by name; anything else stays inside.

def scalar: if type == "object" or type == "array" then null else . end;
def texts: if type == "array" then map(strings) else [] end;
def object: if type == "object" then . else {} end;
def need(kind): if type == kind then . else error("unexpected JSON") end;

# Keeps these members where they are there, and only if they are no objects or lists.
def only(names): . as $from | reduce names[] as $name ({};
  if $from | has($name) then setpath([$name]; $from[$name] | scalar) else . end);

def peer: object
  | only(["ID", "HostName", "DNSName", "OS", "Online", "Active", "ExitNode", "ExitNodeOption", "CurAddr",
      "Relay", "PeerRelay", "RxBytes", "TxBytes", "Created", "LastWrite", "LastSeen", "LastHandshake",
      "Expired", "KeyExpiry"])
    + {TailscaleIPs: (.TailscaleIPs | texts)};

def status: need("object")
  | {BackendState: (.BackendState | strings // ""), Version: (.Version | strings // ""),
     Self: (.Self | peer), Peer: (.Peer | object | map_values(peer))}
    # Said in userspace mode alone: there the loopback beside the daemon is open to its peers.
    + (if .TUN == false then {TUN: false} else {} end);

def whois: need("object")
  | {Node: (.Node | object | only(["Name"])),
     UserProfile: (.UserProfile | object | only(["LoginName", "DisplayName"]))};

def netcheck: need("object");

# The codes of the regions of the DERP map, by their numbers.
def region_codes: need("object")
  | .Regions | object | map_values(.RegionCode? | strings | .[0:32]);

# --- names ---------------------------------------------------------------------------------------------------
# tsobs_pipelines/tailnet/peers.py has the same rule; tests/data/names.json drives the tests of both.

def text: strings // "";
def dns: .DNSName | text | ascii_downcase | rtrimstr(".");
def machine: dns | split(".")[0] // "";
def suffix: dns | split(".")[1:] | join(".");
def host: .HostName | text | ascii_downcase;
def address: [.TailscaleIPs[]? | strings | select(test("^[0-9a-fA-F.:]+$"))][0] // null;

# An IPv6 address as the daemon writes it, shortened; anything else as it is.
def shortened: . as $name
  | if test("^[0-9a-f]*:[0-9a-f:]+$") then
      [split("::")[] | split(":")] as $halves | (8 - ($halves | map(length) | add)) as $left_out
      | (if ($halves | length) == 1 then $halves[0]
         elif ($halves | length) == 2 and $left_out > 0 then $halves[0] + [range($left_out) | "0"] + $halves[1]
         else [] end) as $groups
      | if ($groups | length) == 8 and all($groups[]; test("^[0-9a-f]{1,4}$")) then
          $groups | map(sub("^0+(?=.)"; "")) | join(":")
          | first(((range(8; 1; -1) | "(^|:)0(:0){\(. - 1)}(:|$)") as $zeros | select(test($zeros)) | sub($zeros; "::")), .)
        else $name end
    else . end;

# What an error calls a node: its DNS name, or the address of a node that has none.
def designation: if dns != "" then dns else address // "a node without name and address" end;

# The names of a node, each behind the rank of its kind: an address or the full DNS name; the machine name (the
# first label of the DNS name) in the tailnet's own SUFFIX; what the machine calls itself; and the last two of
# nodes that are shared in from other tailnets. A node without a DNS name counts to the own tailnet.
def ranked_names($own):
  (dns == "" or $own == "" or suffix == $own) as $mine
  | [("1" + dns, (.TailscaleIPs | texts[] | "1" + ascii_downcase),
      (if $mine then "2" else "4" end) + machine, (if $mine then "3" else "5" end) + host)
     | select(length > 1)]
  | unique[];

# The nodes of a list by their ranked names, for `meant`.
def by_name($own): reduce .[] as $node ({}; reduce ($node | ranked_names($own)) as $name (.; .[$name] += [$node]));

# The nodes that NAME means, by what `by_name` gave: those of the best rank that has any. A machine that calls
# itself by its machine name, as others do, is one of several: after a reinstall it is the old one.
def meant($name): . as $nodes | ($name | ascii_downcase | rtrimstr(".") | shortened) as $wanted
  | if $wanted == "" then [] else [("1", "2", "3", "4", "5") | $nodes[. + $wanted] // empty][0] // [] end
  | if length == 1 and . == $nodes["2" + $wanted] and (.[0] | host) == $wanted and ($nodes["1" + $wanted] == null)
    then $nodes["3" + $wanted] else . end;

# The nodes of a projected status by their names, its own one among them.
def nodes_by_name: (.Self | suffix) as $own | [.Self, .Peer[]] | map(select(. != {TailscaleIPs: []})) | by_name($own);

# --- pings ---------------------------------------------------------------------------------------------------

def unreadable: {Err: "probe failed: unreadable answer"};
def is_latency: type == "number" and . >= 0 and . <= 3600;

# A ping's answer as the daemon gave it, or what `failed_ping` in localapi.sh says in its place.
def checked_ping: if type != "object" or (.Err | type | . != "string" and . != "null") then unreadable
  elif .LatencySeconds | is_latency then . elif (.Err // "") != "" then {Err} else unreadable end;

# The same from its text. One that is no JSON still names the address that was pinged.
def read_answer: . as $text | (try fromjson catch null)
  | if type == "object" and (.IP | type) == "string" then .
    else unreadable + ($text | capture("\"IP\": *\"(?<IP>[0-9A-Fa-f.:]+)\"") // {}) end;

def ping: checked_ping
  | if has("LatencySeconds") then only(["IP", "NodeIP", "NodeName", "Err", "LatencySeconds", "Endpoint", "PeerRelay",
      "DERPRegionID", "DERPRegionCode", "IsLocalIP"])
    else {Err} end;

# These members where they say something: not false, 0, empty or never.
def telling($names): . as $from | reduce $names[] as $name ({}; $from[$name] as $value
  | if $value == null or $value == "" or $value == 0 or $value == false or $value == "0001-01-01T00:00:00Z"
      or ($value | type) == "object" or ($value | type) == "array"
    then . else .[$name] = $value end);

def way: [.Err, .Endpoint, .PeerRelay, .DERPRegionID, .DERPRegionCode, .IsLocalIP];

# Pings in a row that differ in their latency alone, as one: latencies to microseconds, or how many failed alike.
def runs: map(checked_ping) | . as $pings | length as $count | map(way) as $ways
  | [range($count) | select(. == 0 or $ways[.] != $ways[. - 1])] as $starts
  | [range($starts | length) | $pings[$starts[.]:$starts[. + 1] // $count]]
  | map((.[0] | telling(["Err", "Endpoint", "PeerRelay", "DERPRegionID", "DERPRegionCode", "IsLocalIP"]))
      + if (.[0].Err // "") == "" then {LatencySeconds: map(.LatencySeconds * 1e6 | round | . / 1e6)}
        else {times: length} end);

# --- the journal ---------------------------------------------------------------------------------------------

# Nodes that never answer a ping: Mullvad's exit nodes, nodes of people that something is shared with, Funnel's.
def never_answers: .ShareeNode == true or host == "funnel-ingress-node" or (dns | endswith(".mullvad.ts.net"))
  or any(.Tags | texts[]; . == "tag:mullvad-exit-node");

# What every peer that is sampled unasked is called: its machine name, its DNS name if it is shared in, and for
# those without one what they call themselves where that is unique, or the address.
def key_of($nodes; $own): . as $node
  | if dns != "" then if $own == "" or suffix != $own or machine == "" then dns else machine end
    elif host != "" and ($nodes["3" + host] | length) == 1 and ($nodes["2" + host] // []) == [] then .HostName
    else address // "" end;

# The nodes to sample of a raw status, most important first, each {name} with `node`, or with `unprobed` and why.
# NAMES are host names, DNS names and addresses; `*`, or no name at all, is all that is left of the peers that
# answer pings, those that are online first. A name that means several nodes gives each of them as well.
def sampled($names): (.Self | object) as $self | ($self | suffix) as $own
  | [.Peer | object | .[] | objects] as $peers
  | ([$self] + $peers | by_name($own)) as $nodes
  | [$names[] | select(. != "*") | . as $name | ($nodes | meant($name)) as $found
     | if $found == [] then {name: $name, unprobed: "absent"}
       elif $found == [$self] then {name: $name, unprobed: "self"}
       elif ($found | length) == 1 then {name: $name, node: $found[0]}
       else {name: $name, unprobed: "ambiguous", nodes: ($found | map(designation) | sort)},
         ($found[] | select(. != $self) | {name: designation, node: .}) end] as $named
  | $named + if $names == [] or any($names[]; . == "*") then
      ([$named[] | {key: (.node // empty | designation), value: true}] | from_entries) as $there
      | $peers | map(select((never_answers | not) and ($there[designation] | not)))
        | sort_by(.Online != true, designation)
        | map({name: key_of($nodes; $own), node: ., rest: true} | select(.name != ""))
    else [] end;

# The addresses to ping of what `sampled` gave, in order: of the nodes that were named, `|`, of the rest.
def targets: [.[] | select(.node) | {address: (.node | address), rest} | select(.address)]
  | [(map(select(.rest | not)), map(select(.rest))) | map(.address) | join(" ")] | join(" | ");

# The addresses whose warm pongs all came over DERP, of pings in the order in which they were taken.
def relayed: [group_by(.IP)[] | select((.[0].IP | type) == "string") | {address: .[0].IP, warm: (.[1:] | map(select((.Err // "") == "")))}
  | select(.warm != [] and all(.warm[]; (.DERPRegionID // 0) != 0)) | .address] | join(" ");

def to_second: if type == "string" and endswith("Z") then .[:19] + "Z" else . end;

# The projected status of a node without what says nothing, with times to the second. What hardly ever changes (ID,
# OS, Created) is there when WHOLE.
def journalled($whole):
  telling((if $whole then ["ID", "HostName", "DNSName", "OS"] else ["HostName", "DNSName"] end)
    + ["Active", "ExitNode", "ExitNodeOption", "CurAddr", "Relay", "PeerRelay", "Expired"])
    + {Online: (.Online | scalar), RxBytes: (.RxBytes | scalar), TxBytes: (.TxBytes | scalar)}
    + (telling((if $whole then ["Created"] else [] end) + ["LastWrite", "LastSeen", "LastHandshake", "KeyExpiry"])
      | map_values(to_second))
    + {TailscaleIPs: (.TailscaleIPs | texts)};

# One round of the journal from the raw status and what `sampled` made of it. HEAD has `at`, `interval`, `took`,
# `whole`, and `unfinished`: the addresses whose pings were not done in time. PINGS are LocalAPI answers in the
# order in which they were taken. KNOWN has the ID of each address as the round before had it.
def round($names; $sampled; $head; $pings; $known): . as $status
  | (reduce $pings[] as $ping ({}; .[$ping | objects | .IP | text] += [$ping])) as $by_address
  | ($head.unfinished | map({key: ., value: true}) | from_entries) as $unfinished
  | {v: 2, at: $head.at, interval: $head.interval, took: $head.took,
     daemon: (.Version | text | split("-")[0] // ""), state: (.BackendState | text),
     every: ($names == [] or any($names[]; . == "*")),
     self: (.Self | object | journalled($head.whole)),
     nodes: (reduce $sampled[] as $one ({}; if has($one.name) then . else .[$one.name] = ($one
       | if .node == null then {unprobed} + if .nodes then {nodes} else {} end
         else (.node | address) as $address
           | (.node | journalled($head.whole or .ID != $known[$address // ""]))
             + if $address == null then {unprobed: "no-address"}
               else (if $unfinished[$address] then {unprobed: "out-of-time"} else {} end)
                 + {pings: ($by_address[$address] // [] | runs)} end end) end))}
  | if .state == "Running" then . else del(.nodes) + {error: "tailscaled is not running: \(.state)"} end;

# The sampler's jq, which lives as long as it: for each round three lines come in, the head, the pings with tabs
# between them, and the raw status; two go out, the state, the relayed addresses and the targets with tabs between
# them, and the round. Both are empty when the status can't be read.
def serve_rounds($names): foreach (inputs | [., input, input]) as [$head, $pings, $status] ({known: {}};
    ($status | try fromjson catch null) as $raw
    | if ($raw | type) != "object" then .out = ["", ""]
      else ($raw | sampled($names)) as $sampled | .known as $known
        | [$pings | split("\t")[] | select(. != "") | read_answer] as $answers
        | .out = [($raw.BackendState | text | gsub("[^A-Za-z]"; "")) + "\t" + ($answers | relayed) + "\t" + (if $raw.BackendState == "Running" then $sampled | targets else "|" end),
            ($raw | round($names; $sampled; $head | fromjson; $answers; $known) | tojson)]
        | .known = ([$sampled[] | .node // empty | select(address) | {key: address, value: .ID}] | from_entries)
      end;
    .out[]);

# --- debug ---------------------------------------------------------------------------------------------------

# A string of an endpoint change may be an address; anything else that long is cut.
def short: if type == "string" then .[:200] else scalar end;

def endpoint_changes: if type == "array" then
    map(objects | {When: (.When | short), What: (.What | short)}
      + (if has("From") then {From: (.From | if type == "object" then map_values(short) else short end)} else {} end)
      + (if has("To") then {To: (.To | if type == "object" then map_values(short) else short end)} else {} end))
  else [] end;

# One message of the IPN bus: what changed, never a login URL, preferences, keys or names of users.
def event: objects
  | (only(["State"]) | map_values(values))
    + (if .Engine then {Engine: (.Engine | object | only(["RBytes", "WBytes", "NumLive", "LiveDERPs"]))} else {} end)
    + (if .Health then {Health: (.Health | object | .Warnings | object | keys)} else {} end)
    + (if .PeerChangedPatch then {PeerChangedPatch: [.PeerChangedPatch | arrays[] | objects
        | only(["NodeID", "DERPRegion", "Online", "LastSeen"])]} else {} end)
    + (if .PeersChanged then {PeersChanged: [.PeersChanged | arrays[] | objects | only(["Name", "Online"])]} else {} end)
    + (if .PeersRemoved then {PeersRemoved: [.PeersRemoved | arrays[] | numbers]} else {} end)
  | select(. != {});

# --- answers -------------------------------------------------------------------------------------------------

# What a name means in a projected status: `one ADDRESS NODE`, `none`, `stopped`, or `many` or `nameless` with what
# to use instead.
def resolved($name): if .BackendState != "Running" then "stopped" else nodes_by_name | meant($name)
  | if length == 0 then "none"
    elif length > 1 then (if any(dns != "") then "many " else "nameless " end) + (map(designation) | sort | join(", "))
    else .[0] | "one " + (address // "") + " " + tojson end end;

def answered($kind; $argument): if $kind == "pings" then
    [split("\t")[] | select(. != "") | read_answer | ping] | tojson
  else fromjson
    | if $kind == "status" then status | tojson
      elif $kind == "whois" then whois | tojson
      elif $kind == "changes" then endpoint_changes | tojson
      elif $kind == "resolve" then resolved($argument)
      else error("unknown kind") end end;

# One answer for each question that projector.sh asks; empty when it has none. Other lines are read over.
def serve_answers: inputs | (split(" ") | .[:3]) as [$number, $kind, $argument]
  | select($argument) | "\($number) \(try (.[([$number, $kind, $argument] | join(" ") | length) + 1:]
      | answered($kind; $argument)) catch "")";
