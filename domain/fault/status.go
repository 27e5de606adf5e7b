package fault

// HTTPStatus is the status code of a kind: the only such table.
func HTTPStatus(k Kind) int {
	switch k {
	case Invalid:
		return 400
	case Unauthenticated:
		return 401
	case PaymentRequired:
		return 402
	case Forbidden:
		return 403
	case NotFound:
		return 404
	case WrongMethod:
		return 405
	case TooSlow:
		return 408
	case Conflict:
		return 409
	case TooLarge:
		return 413
	case WrongMedia:
		return 415
	case TooMany:
		return 429
	case BadUpstream:
		return 502
	case Unavailable:
		return 503
	case UpstreamTimeout:
		return 504
	}
	return 500
}
