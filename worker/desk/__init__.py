"""The desk: where people read alerts as incidents and label them."""
