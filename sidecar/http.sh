# shellcheck shell=bash
# One HTTP exchange on stdin and stdout: reading a request within its bounds, answering.
#
# Sourced by the handler. What the routes mean is in routes.sh.

readonly MAX_REQUEST_LINE=4096
readonly MAX_HEADERS=16384
readonly SEND_SECONDS=60

declare -A PHRASES=(
  [200]='OK' [400]='Bad Request' [401]='Unauthorized' [403]='Forbidden' [404]='Not Found'
  [405]='Method Not Allowed' [408]='Request Timeout' [414]='URI Too Long' [431]='Request Header Fields Too Large'
  [500]='Internal Server Error' [502]='Bad Gateway' [503]='Service Unavailable' [504]='Gateway Timeout'
)

# TAKES_GZIP: whether the client takes gzip.
# shellcheck disable=SC2034
HEAD='' METHOD='' TARGET='' HOST_HEADER='' AUTHORIZATION='' STATUS=0 WHOLE=no TAKES_GZIP=no

# head_of STATUS TYPE LENGTH [HEADER]: the head of an answer into HEAD.
head_of() {
  STATUS=$1
  printf -v HEAD '%s\r\n' "HTTP/1.1 $1 ${PHRASES[$1]}" "Content-Type: $2" "Content-Length: $3" 'Connection: close' \
    'Cache-Control: no-store' 'X-Content-Type-Options: nosniff' ${4:+"$4"} ''
}

# answer STATUS TYPE BODY [HEADER]: send it and end. A body that fits a socket's buffer can't block; a larger
# one goes out under a time-out, for a client that doesn't read must not keep this process.
answer() {
  head_of "$1" "$2" "${#3}" "${4-}"
  if ((${#3} < 16384)); then
    printf '%s%s' "$HEAD" "$3" 2>/dev/null
  else
    printf '%s%s' "$HEAD" "$3" 2>/dev/null | timeout "$SEND_SECONDS" cat 2>/dev/null
  fi
  finish
}

# refuse STATUS REASON [HEADER]: answer with {"error": REASON} and end.
refuse() {
  local reason
  json_text reason "$2"
  answer "$1" application/json "{\"error\":$reason}" "${3-}"
}

# finish: read on for a moment when the request was refused before its end, or closing would reset the
# connection and take the answer with it. Longer where more is sure to come. Then log and end.
finish() {
  local seconds=0.2
  if [[ $WHOLE == no && $STATUS != 408 ]]; then
    [[ $STATUS != 4[13]? ]] || seconds=1
    timeout "$seconds" head -c 4194304 >/dev/null 2>&1
  fi
  exit 0
}

# at_end: one line in the log for the request, when there was one; an answer too if it ended without.
at_end() {
  if ((STATUS == 0)); then
    [[ -n $METHOD ]] || return
    local body='{"error":"the sidecar failed"}'
    head_of 500 application/json "${#body}"
    printf '%s%s' "$HEAD" "$body" 2>/dev/null
  fi
  local us level=INFO method path members
  now_us us
  ((STATUS < 400)) || level=WARNING
  ((STATUS < 500)) || level=ERROR
  json_text method "$METHOD"
  json_text path "$TARGET"
  members=",\"method\":$method,\"path\":$path,\"status\":$STATUS,\"duration_ms\":$(((us - STARTED) / 1000))"
  log "$level" "${METHOD:-?} ${TARGET:-?} $STATUS" "$members"
}

# read_bounded LIMIT: one line of at most LIMIT bytes into LINE, before DEADLINE. Returns 0; 1 at the end of the
# input; refuses what is out of time. 2: the limit was reached.
read_bounded() {
  local left us status=0 limit=$1
  now_us us
  left=$((DEADLINE - us))
  ((left > 1000)) || refuse 408 'the request took too long'
  printf -v left '%d.%06d' "$((left / 1000000))" "$((left % 1000000))"
  LINE=''
  IFS= read -r -t "$left" -n "$((limit + 1))" LINE || status=$?
  ((status <= 128)) || refuse 408 'the request took too long'
  ((${#LINE} <= limit)) || return 2
  ((status == 0)) || return 1
  LINE=${LINE%$'\r'}
}

# read_request: METHOD, TARGET, HOST_HEADER and AUTHORIZATION from stdin, or a refusal.
read_request() {
  local status=0
  read_bounded "$MAX_REQUEST_LINE" || status=$?
  ((status != 2)) || refuse 414 'the request line is too long'
  if ((status == 1)); then
    [[ -n $LINE ]] || exit 0
    refuse 400 'the request line is cut'
  fi
  # Printable ASCII only, and exactly three words.
  [[ $LINE =~ ^([!-~]{1,32})\ ([!-~]+)\ HTTP/1\.[01]$ ]] || refuse 400 'malformed request line'
  METHOD=${BASH_REMATCH[1]} TARGET=${BASH_REMATCH[2]}
  read_headers
}

read_headers() {
  local left=$MAX_HEADERS status name value hosts=0 tokens=0 from_page=no body=no
  while :; do
    status=0
    read_bounded "$left" || status=$?
    ((status != 2)) || refuse 431 'the headers are too long'
    ((status != 1)) || refuse 400 'the headers are cut'
    left=$((left - ${#LINE} - 2))
    [[ -n $LINE ]] || break
    ((left > 0)) || refuse 431 'the headers are too long'
    [[ $LINE =~ ^([A-Za-z0-9!#$%\&\'*+.^_\`|~-]+):[$' \t']*(.*)$ ]] || refuse 400 'malformed header'
    name=${BASH_REMATCH[1],,} value=${BASH_REMATCH[2]}
    value=${value%"${value##*[!$' \t']}"}
    case $name in
      host) HOST_HEADER=${value,,} hosts=$((hosts + 1)) ;;
      origin | referer) from_page=yes ;;
      authorization) AUTHORIZATION=$value tokens=$((tokens + 1)) ;;
      accept-encoding)
        # shellcheck disable=SC2034 # for samples.sh
        [[ ! ,$value, =~ [,\ ]gzip([,\ ]|;\ *q=(1|0\.[0-9]*[1-9])) ]] || TAKES_GZIP=yes
        ;;
      content-length) [[ $value == 0 ]] || body=yes ;;
      transfer-encoding) body=yes ;;
    esac
  done
  WHOLE=yes
  [[ $body == no ]] || WHOLE=no
  ((hosts == 1 && tokens <= 1)) || refuse 400 'expected one Host and at most one Authorization'
  [[ " $ALLOWED " == *" $HOST_HEADER "* && $HOST_HEADER != *[!a-z0-9.:\[\]_-]* && -n $HOST_HEADER ]] ||
    refuse 403 'this Host is not allowed'
  [[ $from_page == no ]] || refuse 403 'requests from web pages are refused'
  check_token
  [[ $METHOD == GET ]] || refuse 405 'GET only' 'Allow: GET'
  [[ $body == no ]] || refuse 400 'expected no body'
}

# check_token: the bearer token of SIDECAR_TOKEN_FILE, read for each request so that it can be replaced. The
# time of the comparison tells nothing about the token but its length.
check_token() {
  [[ -n $SIDECAR_TOKEN_FILE ]] || return 0
  local token='' given='' i difference a b
  [[ ! -f $SIDECAR_TOKEN_FILE ]] || IFS= read -r -N 514 token 2>/dev/null <"$SIDECAR_TOKEN_FILE"
  token=${token%$'\n'}
  [[ $token =~ ^[!-~]{16,512}$ ]] || refuse 503 'the token file is not usable'
  [[ $AUTHORIZATION =~ ^[Bb][Ee][Aa][Rr][Ee][Rr]\ +([!-~]+)$ ]] && given=${BASH_REMATCH[1]}
  difference=$((${#token} ^ ${#given}))
  for ((i = 0; i < ${#token}; i++)); do
    printf -v a %d "'${token:i:1}"
    printf -v b %d "'${given:i:1}"
    difference=$((difference | (a ^ b)))
  done
  ((difference == 0)) || refuse 401 'expected the bearer token' 'WWW-Authenticate: Bearer'
}

# decode NAME TEXT: percent-decoded into NAME; refuses a malformed escape and what is not printable ASCII.
decode() {
  local -n _decoded=$1
  local rest=$2 byte
  _decoded=''
  while [[ $rest == *%* ]]; do
    _decoded+=${rest%%%*}
    rest=${rest#*%}
    [[ $rest =~ ^[2-7][0-9A-Fa-f] && ${rest:0:2} != 7[Ff] ]] || refuse 400 'malformed percent-encoding'
    printf -v byte '%b' "\\x${rest:0:2}"
    _decoded+=$byte
    rest=${rest:2}
  done
  _decoded+=$rest
}
