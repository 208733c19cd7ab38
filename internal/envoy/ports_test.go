package envoy

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseListenerPorts(t *testing.T) {
	raw := `{"listener_statuses": [
 {"name": "0.0.0.0_15090", "local_address": {"socket_address": {"address": "0.0.0.0", "port_value": 15090}}},
 {"name": "pipe", "local_address": {"pipe": {"path": "/x"}}},
 {"name": "0.0.0.0_8443", "local_address": {"socket_address": {"address": "0.0.0.0", "port_value": 8443}}}]}`
	got, err := ParseListenerPorts([]byte(raw))
	if diff := cmp.Diff([]int{15090, 8443}, got); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	for _, bad := range []string{"", "[]", "{}"} {
		if _, err := ParseListenerPorts([]byte(bad)); err == nil {
			t.Errorf("%q gives no error", bad)
		}
	}
}
