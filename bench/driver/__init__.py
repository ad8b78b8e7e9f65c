# SPDX-License-Identifier: MIT
"""Measures servers, keeps what was found, and makes the page of it.

    servers    who is measured, and how one is started
    scenarios  what is done to them
    timing     CPU time per message, in rounds
    tracing    system calls per message
    callgrind  instructions and allocations per message, and of whom
    machine    what it was measured on
    store      what was found, as JSON, and the arithmetic on it
    tables     what was found, as markdown
    plot       what was found, as SVG
    page       docs/performance.md
    main       the command line
"""
