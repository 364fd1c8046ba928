/* Which tensors may take each other's bytes. */
#ifndef FATHOM_SHARING_H
#define FATHOM_SHARING_H

enum sharing_policy {
    SHARING_FULL,
    SHARING_NONE,     /* every tensor its own bytes: for tests and comparisons */
    SHARING_GRADINPUT /* as the 2016 release did (gradinput.h), for comparison */
};

#endif
