/* proto/ as one FileDescriptorSet in wire form: build/gen/descriptors.c, made by mk/descriptors.sh.
 */
#ifndef GATEWAY_DESCRIPTORS_H
#define GATEWAY_DESCRIPTORS_H

#include <stddef.h>
#include <stdint.h>

extern const uint8_t descriptors_data[];
extern const size_t descriptors_size;

#endif
