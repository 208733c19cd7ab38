package observe

// Witnessed is what the logs hold about one request: raw lines, in order.
type Witnessed struct {
	Sidecar, Gateway, SecondGateway, Partner [][]byte
	// Refused are the gateway's lines about connections of the caller's that
	// never came to a request.
	Refused [][]byte
}
