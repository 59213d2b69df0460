# What the sidecar lets out of the Tailscale CLI's JSON, by name; anything else stays inside.

def scalar: if type == "object" or type == "array" then null else . end;
def texts: if type == "array" then map(strings) else [] end;
def object: if type == "object" then . else {} end;
def need(kind): if type == kind then . else error("unexpected JSON") end;

# Keeps these members where they are there, and only if they are no objects or lists.
def only(names): . as $from | reduce names[] as $name ({};
  if $from | has($name) then .[$name] = ($from[$name] | scalar) else . end);

def peer: object
  | only(["ID", "HostName", "DNSName", "OS", "Online", "Active", "ExitNode", "ExitNodeOption", "CurAddr",
      "Relay", "PeerRelay", "RxBytes", "TxBytes", "Created", "LastWrite", "LastSeen", "LastHandshake",
      "Expired", "KeyExpiry"])
    + {TailscaleIPs: (.TailscaleIPs | texts)};

def status: need("object")
  | {BackendState: (.BackendState | strings // ""), Version: (.Version | strings // ""),
     Self: (.Self | peer), Peer: (.Peer | object | map_values(peer))};

def whois: need("object")
  | {Node: (.Node | object | only(["Name"])),
     UserProfile: (.UserProfile | object | only(["LoginName", "DisplayName"]))};

def netcheck: need("object");

# --- names ---------------------------------------------------------------------------------------------------

def lower: tostring | ascii_downcase;
def dns: (.DNSName // "") | lower | rtrimstr(".");
def host: (.HostName // "") | lower;
def address: [.TailscaleIPs[]? | select(test("^[0-9a-fA-F.:]+$"))][0] // null;

# The nodes that NAME means, most exact meaning first: an address or a full DNS name, then a host name, then
# the first label of a DNS name.
def meant($name): ($name | lower | rtrimstr(".")) as $wanted
  | [.[] | select(dns == $wanted or any(.TailscaleIPs[]; . == $wanted))] as $exact
  | if $exact != [] then $exact
    else [.[] | select(host == $wanted)] as $hosts
      | if $hosts != [] then $hosts
        else [.[] | select((dns | split(".")[0]) == $wanted)]
        end
    end;

def nodes: [.Self, .Peer[]] | map(select(. != {TailscaleIPs: []}));

# --- pings ---------------------------------------------------------------------------------------------------

# One line of `ping_once` in lib.sh.
def ping($seconds): (index("\t") // length) as $tab | .[:$tab] as $status | .[$tab + 1:] as $answer
  | if $status == "124" or $status == "137" or $status == "143" then {Err: "no reply within \($seconds) s"}
    elif $status != "0" then {Err: "probe failed: exit status \($status)"}
    else (try ($answer | fromjson) catch null)
      | if type == "object" and ((.LatencySeconds | type) == "number" or (.Err | strings // "") != "") then
          only(["IP", "NodeIP", "NodeName", "Err", "LatencySeconds", "Endpoint", "PeerRelay", "DERPRegionID",
            "DERPRegionCode", "IsLocalIP"])
        else {Err: "probe failed: unreadable answer"}
        end
    end;

# --- the journal ---------------------------------------------------------------------------------------------

# The nodes to sample as [name, node], by the configured NAMES, or all peers when there are none. A name that
# several peers have gives each of them under its DNS name, so that a reader can tell which they are.
def sampled($names): . as $status | [.Peer[]] as $peers
  | if $names == [] then
      $peers | group_by(host) | map(if length == 1 and (.[0] | host) != "" then [.[0].HostName, .[0]]
        else .[] | [dns, .] end)
    else
      [$names[] as $name | ($peers | meant($name)) as $found
        | if $found | length == 1 then [$name, $found[0]] else $found[] | [dns, .] end]
    end
  | map(select(.[0] | length > 0));

# For the next round: [name, address] of each node that can be pinged.
def targets($names): if .BackendState == "Running" then
    [sampled($names)[] | [.[0], (.[1] | address)] | select(.[1])]
  else [] end;

# One round of the journal. `$pings` holds lines `index<TAB>STATUS<TAB>ANSWER`, an index of `$pinged`, which is
# what `targets` gave for it.
def round($at; $names; $pinged; $pings; $seconds): . as $status
  | ($pings | split("\n") | map(select(length > 0) | index("\t") as $tab
      | [$pinged[.[:$tab] | tonumber][0], (.[$tab + 1:] | ping($seconds))])) as $lines
  | (sampled($names) | map({key: .[0], value: .[1]}) | from_entries) as $nodes
  | {v: 1, at: $at, daemon: (.Version | split("-")[0] // ""), state: .BackendState, peers: $nodes,
     pings: (if .BackendState == "Running" then
         reduce $lines[] as $line ({}; if $nodes[$line[0]] then .[$line[0]] += [$line[1]] else . end)
       else {} end),
     self: .Self}
  | if .state == "Running" then . else . + {error: "tailscaled is not running: \(.state)"} end;

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
