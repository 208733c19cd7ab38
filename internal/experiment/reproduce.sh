# shellcheck shell=sh disable=SC2154,SC2317,SC2329
# What the steps below are made of. SC2154: who begins a script sets app
# and partner, the lab's namespaces. SC2317, SC2329: not every script
# uses every function.
set -u
umask 077
begun=$(date -u +%Y-%m-%dT%H:%M:%SZ)
work=$(mktemp -d)

step() { printf '\n== %s\n' "$*"; }
status() { echo "(exit status $?)"; }
die() {
	echo "${0##*/}: $*" >&2
	exit 1
}

# await WHAT COMMAND…: waits until a command succeeds, a minute at most.
await() {
	what=$1 tries=0
	shift
	until "$@"; do
		tries=$((tries + 1))
		[ "$tries" -lt 60 ] || die "waited a minute in vain until $what"
		sleep 1
	done
}

# keep KIND NAMESPACE NAME: saves an object before its first change, for restore.
keep() {
	kept="$work/kept-$1=$2=$3" # no commas: kubectl takes them for a list of files
	[ ! -e "$kept" ] || return 0
	kubectl get "$1" "$3" -n "$2" -o yaml --ignore-not-found >"$kept.new" || die "cannot read $1 $2/$3"
	sed -e '/^  resourceVersion:/d' -e '/^  uid:/d' "$kept.new" >"$kept"
	echo "$1 $2 $3" >>"$work/touched"
}

# put KIND NAMESPACE NAME: makes the object what standard input says. "kubectl
# apply" would leave fields in place that the object should no longer have.
put() {
	cat >"$work/object.yaml"
	keep "$1" "$2" "$3"
	if kubectl get "$1" "$3" -n "$2" -o name >"$work/null" 2>&1; then
		kubectl replace -f "$work/object.yaml" || die "cannot replace $1 $2/$3"
	else
		kubectl create -f "$work/object.yaml" || die "cannot create $1 $2/$3"
	fi
	if [ "$1" = deployment.apps ]; then echo "$2 $3" >>"$work/rolling"; fi
}

# drop KIND NAMESPACE NAME: deletes an object.
drop() {
	keep "$1" "$2" "$3"
	kubectl delete "$1" "$3" -n "$2" || die "cannot delete $1 $2/$3"
}

# settle: gives a change time to reach the proxies. The run asked both proxies
# until they had it; 3 s are long enough where istiod pushes within 20 ms.
settle() {
	if [ -s "$work/rolling" ]; then
		while read -r namespace name; do
			if kubectl get deployment "$name" -n "$namespace" -o name >"$work/null" 2>&1; then
				kubectl rollout status deployment "$name" -n "$namespace" --timeout 120s </dev/null || die "$namespace/$name is not ready"
			fi
		done <"$work/rolling"
		rm "$work/rolling"
	fi
	sleep 3
}

# restore: puts back what put and drop changed, whichever way the script ends. A
# connection of hop 2 that lives on may still present a certificate of the
# script's; the next run deploys the lab with other certificates and ends it.
restore() {
	code=$?
	trap '' INT TERM
	if [ -s "$work/touched" ]; then
		step "put the lab back as it was"
		while read -r kind namespace name; do
			kept="$work/kept-$kind=$namespace=$name"
			if [ ! -s "$kept" ]; then
				kubectl delete "$kind" "$name" -n "$namespace" --ignore-not-found
			elif kubectl get "$kind" "$name" -n "$namespace" -o name >"$work/null" 2>&1; then
				kubectl replace -f "$kept"
			else
				kubectl create -f "$kept"
			fi || { echo "${0##*/}: could not put back $kind $namespace/$name" >&2 && code=1; }
			if [ "$kind" = deployment.apps ]; then echo "$namespace $name" >>"$work/rolling"; fi
		done <"$work/touched"
		trap - EXIT # settle may fail
		settle
	fi
	rm -rf "$work"
	exit "$code"
}
trap restore EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# logs TOKENS WORKLOAD…: the lines about a request; TOKENS are separated by |, a
# WORKLOAD is namespace/deployment/container.
logs() {
	tokens=$1
	shift
	sleep 1
	for workload in "$@"; do
		container=${workload##*/} workload=${workload%/*}
		echo "-- $workload, $container:"
		kubectl logs -n "${workload%/*}" "deploy/${workload#*/}" -c "$container" --since-time "$begun" | grep -E "$tokens" || echo "(no line)"
	done
}

# background NAME COMMAND…: starts a client; collect NAME waits for its end.
background() {
	name=$1
	shift
	"$@" >"$work/$name.out" 2>&1 &
	echo "$!" >"$work/$name.pid"
}
collect() {
	wait "$(cat "$work/$1.pid")" || status
	cat "$work/$1.out"
}

# Certificates. The lab's CAs live as long as the lab; their keys are in Secret
# partner-ca of the partner's namespace.

# take FILE NAMESPACE SECRET KEY: takes a file out of a Secret of the lab.
take() {
	kubectl get secret "$3" -n "$2" -o "go-template={{index .data \"$4\" | base64decode}}" >"$work/$1" || die "is the lab there? See the head of this script"
	[ -s "$work/$1" ] || die "Secret $2/$3 has no $4"
}

b64() { openssl base64 -A -in "$work/$1"; }

# authority CA: an empty database of openssl for one of the lab's CAs.
authority() {
	: >"$work/index.txt"
	echo 01 >"$work/crlnumber"
	cat >"$work/ca.cnf" <<-CNF
		[ca]
		default_ca = lab
		[lab]
		certificate = $work/$1.crt
		private_key = $work/$1.key
		database = $work/index.txt
		crlnumber = $work/crlnumber
		new_certs_dir = $work
		rand_serial = yes
		default_md = sha256
		default_crl_days = 7
		policy = name
		[name]
		commonName = supplied
		[leaf]
		keyUsage = critical, digitalSignature
		extendedKeyUsage = clientAuth, serverAuth
		authorityKeyIdentifier = keyid
	CNF
}

# issue NAME CA COMMON-NAME SECONDS [SAN]: makes NAME.key and NAME.crt.
issue() {
	authority "$2"
	if [ -n "${5-}" ]; then echo "subjectAltName = $5" >>"$work/ca.cnf"; fi
	ssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$3" -keyout "$work/$1.key" -out "$work/$1.csr"
	ssl ca -batch -notext -config "$work/ca.cnf" -extensions leaf -in "$work/$1.csr" -out "$work/$1.crt" \
		-startdate "$(at -3600)" -enddate "$(at "$4")"
}

# ssl ARGUMENTS…: openssl, whose output nobody needs unless it fails.
ssl() { openssl "$@" >"$work/openssl.txt" 2>&1 || die "openssl $1: $(cat "$work/openssl.txt")"; }

# at SECONDS: the time so many seconds from now, as openssl ca takes it.
at() { date -u -d "@$(($(date +%s) + $1))" +%Y%m%d%H%M%SZ; }

# revoke LIST CA CERTIFICATE…: makes the CA's list of revoked certificates.
revoke() {
	list=$1
	authority "$2"
	shift 2
	for certificate in "$@"; do ssl ca -config "$work/ca.cnf" -revoke "$work/$certificate"; done
	ssl ca -config "$work/ca.cnf" -gencrl -out "$work/$list"
}

# expired FILE: whether a certificate's end has come.
expired() { ! openssl x509 -in "$work/$1" -noout -checkend 0 >"$work/null"; }

# What the run waited for besides.

# admin NAMESPACE POD PATH: a proxy's admin API.
admin() { kubectl exec -n "$1" "$2" -c istio-proxy -- pilot-agent request GET "$3"; }

# holds NAMESPACE POD PATH FILE: whether a secret of a proxy is the file.
holds() { admin "$1" "$2" "$3" 2>"$work/null" | grep -q -F "$(b64 "$4")"; }

# mounted NAMESPACE DEPLOYMENT FOLDER FILE: whether a mounted tls.crt is the
# file. The kubelet looks at once at a pod that is annotated anew.
mounted() {
	kubectl annotate pods -l "app=$2" -n "$1" --overwrite "twohop/looked=$(date +%s)" >"$work/null"
	kubectl exec -n "$1" "deploy/$2" -c istio-proxy -- cat "$3/tls.crt" | cmp -s - "$work/$4"
}

# resolves NAME ADDRESS…: whether DNS gives the application these addresses.
resolves() {
	name=$1
	shift
	printf '%s\n' "$@" | sort >"$work/want"
	# getent fails as long as there is no such name.
	kubectl exec -n "$app" deploy/client -c app -- getent ahostsv4 "$name." 2>"$work/null" | cut -d ' ' -f 1 | sort -u | cmp -s - "$work/want"
}

# partner_pod: the address of the partner's pod.
partner_pod() {
	kubectl get pods -n "$partner" -l app=partner --field-selector status.phase=Running -o 'jsonpath={.items[0].status.podIP}'
}
