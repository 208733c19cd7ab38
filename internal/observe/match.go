package observe

import "bytes"

// OfCall reports whether a sidecar's log line is about a call: it has the call's
// token, or, where that is known, the address that the application called from.
func OfCall(line []byte, token, address string) bool {
	return bytes.Contains(line, []byte(token)) || address != "" && bytes.Contains(line, []byte(`"`+address+`"`))
}

// Refused reports whether a gateway's log line is about a connection from a pod
// that never came to a request. Such lines name no token, but nobody else calls.
func Refused(line []byte, ip string) bool {
	return bytes.Contains(line, []byte(`"downstream_remote_address":"`+ip+":")) && bytes.Contains(line, []byte(`"path":null`))
}
